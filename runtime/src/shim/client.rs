//! The daemon's end of a shim: requests with replies, and a stream of events. Reconnects are the caller's business:
//! when the connection ends, the shim is gone or has dropped us.

use super::packets;
use super::protocol::{Body, Exit, LOCK, Message, Op, Request, SOCKET};
use crate::durable::Lock;
use crate::failure::{Attempt, Failure, Result};
use mainstay_base::lifecycle::Tasks;
use mainstay_proto_wire::cri::Code;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};

/// A run may take long on a loaded machine; more than this is a fault.
const REPLY_TIMEOUT: Duration = Duration::from_secs(120);
const EVENTS_MAX: usize = 1024;

/// What a shim tells unasked.
#[derive(Debug)]
pub(crate) enum Event {
    /// A container or exec ended.
    Exited { container: String, exec: Option<String>, exit: Exit },
    /// The connection ended.
    Gone,
}

type Reply = (std::result::Result<Body, String>, Vec<OwnedFd>);

/// A connection to a live shim.
#[derive(Clone)]
pub(crate) struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    socket: AsyncFd<OwnedFd>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    replies: HashMap<u64, oneshot::Sender<Reply>>,
    closed: bool,
}

impl Client {
    /// Connects to the shim in `dir`; nothing when there is none. Its events arrive at the receiver.
    pub(crate) fn connect(dir: &Path, tasks: &Tasks) -> Result<Option<(Self, mpsc::Receiver<Event>)>> {
        let socket = match packets::connect(dir, SOCKET) {
            Ok(socket) => socket,
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error).attempt("connecting to the shim"),
        };
        let shared = Arc::new(Shared {
            socket: crate::sys::watch(socket).attempt("watching the shim's socket")?,
            waiting: Mutex::default(),
        });
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        let reader = Arc::clone(&shared);
        let stop = tasks.token();
        tasks.spawn("shim", async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = read(&reader, &sender) => {}
            }
            let mut waiting = reader.waiting.lock();
            waiting.closed = true;
            waiting.replies.clear();
            drop(waiting);
            // The receiver may be gone already: then nobody needs to know.
            drop(sender.try_send(Event::Gone));
        });
        Ok(Some((Self { shared }, receiver)))
    }

    /// Whether a shim lives in `dir`, connected or not.
    pub(crate) fn lives(dir: &Path) -> bool {
        dir.join(LOCK).exists() && !matches!(Lock::try_exclusive(&dir.join(LOCK)), Ok(Some(_)))
    }

    /// Asks and waits for the answer. A dropped call leaves the shim to finish on its own.
    pub(crate) async fn call(&self, op: Op, fds: Vec<OwnedFd>) -> Result<(Body, Vec<OwnedFd>)> {
        let (sender, receiver) = oneshot::channel();
        let id = {
            let mut waiting = self.shared.waiting.lock();
            if waiting.closed {
                return Err(gone());
            }
            waiting.next += 1;
            let id = waiting.next;
            waiting.replies.insert(id, sender);
            id
        };
        let result = self.exchange(Request { id, op }, fds, receiver).await;
        self.shared.waiting.lock().replies.remove(&id);
        let (reply, fds) = result?;
        Ok((reply.map_err(Failure::internal)?, fds))
    }

    async fn exchange(
        &self,
        request: Request,
        fds: Vec<OwnedFd>,
        reply: oneshot::Receiver<Reply>,
    ) -> Result<Reply> {
        let work = async {
            let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            loop {
                let mut ready = self.shared.socket.writable().await.attempt("waiting for the shim")?;
                match ready.try_io(|socket| packets::send(socket.get_ref(), &request, &borrowed)) {
                    Ok(sent) => break sent.attempt("asking the shim")?,
                    Err(_would_block) => {}
                }
            }
            drop(borrowed);
            // Our copies must go, or an output would never end.
            drop(fds);
            reply.await.map_err(|_closed| gone())
        };
        tokio::time::timeout(REPLY_TIMEOUT, work)
            .await
            .map_err(|_elapsed| Failure::new(Code::DeadlineExceeded, "the shim does not answer"))?
    }
}

fn gone() -> Failure {
    Failure::new(Code::Unavailable, "the pod's shim is gone")
}

/// Reads until the connection ends.
async fn read(shared: &Shared, events: &mpsc::Sender<Event>) {
    loop {
        let Ok(mut ready) = shared.socket.readable().await else { return };
        let message = match ready.try_io(|socket| packets::receive::<Message>(socket.get_ref())) {
            Ok(Ok(Some(message))) => message,
            Ok(Ok(None) | Err(_)) => return,
            Err(_would_block) => continue,
        };
        match message {
            (Message::Reply { id, result }, fds) => {
                let waiting = shared.waiting.lock().replies.remove(&id);
                if let Some(waiting) = waiting {
                    // Nobody may wait any more.
                    drop(waiting.send((result, fds)));
                }
            }
            (Message::Exited { container, exec, exit }, _) => {
                if events.send(Event::Exited { container, exec, exit }).await.is_err() {
                    return;
                }
            }
        }
    }
}
