//! Whoever waits for a write, and the ways that its answer may take: through consensus, or, for a member that is alone, straight from the apply
//! loop. The first answer counts; a later one changes nothing.
use std::fmt;
use std::sync::{Arc, Weak};

use openraft::raft::{ClientWriteResponse, ClientWriteResult, responder::Responder};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::types::{LogId, TypeConfig};
use crate::api::WriteTimes;
use crate::mvcc::Applied;

type Waiting<T> = Mutex<Option<oneshot::Sender<T>>>;

/// A caller, as consensus holds it until its entry is applied. Once it is dropped, nobody waits.
pub(crate) struct Caller<T>(Arc<Waiting<T>>);

impl<T> Caller<T> {
    /// A caller, and the answer to come; an error there means that consensus has ended.
    pub(super) fn new() -> (Self, oneshot::Receiver<T>) {
        let (send, answer) = oneshot::channel();
        (Self(Arc::new(Mutex::new(Some(send)))), answer)
    }
}

impl Caller<ClientWriteResult<TypeConfig>> {
    pub(super) fn way_back(&self, times: Option<&Arc<WriteTimes>>) -> WayBack {
        WayBack { caller: Some(Arc::downgrade(&self.0)), times: times.cloned() }
    }
}

impl<T: Send + 'static> Responder<TypeConfig, T> for Caller<T> {
    fn on_complete(self, result: T) {
        if let Some(waiting) = self.0.lock().take() {
            // A caller that gave up needs no answer.
            drop(waiting.send(result));
        }
    }
}

/// The way back to the caller of a proposal, in the process that proposed it. It is no part of what is proposed.
#[derive(Clone, Default)]
pub(crate) struct WayBack {
    caller: Option<Weak<Waiting<ClientWriteResult<TypeConfig>>>>,
    /// Where it is noted when the proposal passes what, if anybody wants to know.
    times: Option<Arc<WriteTimes>>,
}

/// A caller that waits, and that only whoever has this can answer.
pub(super) struct Taken(oneshot::Sender<ClientWriteResult<TypeConfig>>);

impl WayBack {
    /// No way back: only what is passed is noted, if anybody wants to know.
    pub(super) fn noting(times: Option<Arc<WriteTimes>>) -> Self {
        Self { caller: None, times }
    }

    /// The caller, if it still waits. What consensus tells it from now on is lost.
    pub(super) fn take(&self) -> Option<Taken> {
        self.caller.as_ref()?.upgrade()?.lock().take().map(Taken)
    }

    pub(super) fn times(&self) -> Option<&Arc<WriteTimes>> {
        self.times.as_ref()
    }
}

impl Taken {
    pub(super) fn answer(self, log_id: LogId, applied: Applied) {
        // A caller that gave up needs no answer.
        drop(self.0.send(Ok(ClientWriteResponse { log_id, data: applied, membership: None })));
    }
}

impl fmt::Debug for WayBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WayBack")
    }
}

impl PartialEq for WayBack {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for WayBack {}
