//! Whether the store still runs, and if not, why.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::api::Halt;

/// Why a store does not run any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    Closed,
    Halted(Halt),
}

/// Shared by everything that runs in a store. It stops once, for its first reason.
#[derive(Debug, Default)]
pub(crate) struct StopState {
    stopped: AtomicBool,
    reason: Mutex<Option<Stopped>>,
    token: CancellationToken,
}

impl StopState {
    /// Stops because going on could give wrong answers.
    pub(crate) fn halt(&self, reason: &str) {
        if self.stop(Stopped::Halted(Halt(Arc::from(reason)))) {
            tracing::error!(reason, "the store stopped");
        }
    }

    /// Stops because the embedder said so. False if it was stopped already.
    pub(crate) fn close(&self) -> bool {
        self.stop(Stopped::Closed)
    }

    fn stop(&self, why: Stopped) -> bool {
        {
            let mut reason = self.reason.lock();
            if reason.is_some() {
                return false;
            }
            *reason = Some(why);
        }
        self.stopped.store(true, Ordering::Release);
        self.token.cancel();
        true
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// `Err` with the reason if it was stopped.
    pub(crate) fn check(&self) -> Result<(), Stopped> {
        if self.is_stopped() { Err(self.reason()) } else { Ok(()) }
    }

    /// The reason; `Closed` if there is none yet, because something ended before the others.
    pub(crate) fn reason(&self) -> Stopped {
        self.reason.lock().clone().unwrap_or(Stopped::Closed)
    }

    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }
}
