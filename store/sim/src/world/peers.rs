//! Links between members over the simulated network. They behave like TCP: in order, held up by a cut, ended when a process ends, silent when a
//! machine loses its power.
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use mainstay_store::{Link, LinkReceiver, LinkSender, Transport};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::host::Desk;
use super::net::{HostId, Net};

/// So many links wait to be accepted.
const BACKLOG_MAX: usize = 64;
/// So many frames of a link wait to be received; one more breaks it.
const FRAMES_MAX: usize = 4096;
/// Nobody has answered a dial until then: it has failed.
const DIAL_MAX: Duration = Duration::from_secs(2);

/// The peer URL of a member.
pub fn peer_url(member: HostId) -> String {
    format!("http://member-{member}:2380")
}

pub(super) fn host_of(url: &str) -> Option<HostId> {
    url.strip_prefix("http://member-")?.split(':').next()?.parse().ok()
}

/// Where a process listens.
pub(super) type Listener = mpsc::Sender<Link>;

/// One process' end of the network.
#[derive(Debug)]
pub struct SimTransport {
    net: Net<Desk>,
    own: HostId,
    incoming: tokio::sync::Mutex<mpsc::Receiver<Link>>,
}

impl SimTransport {
    /// The end of the network for a process, and where links to it are put.
    pub fn new(net: Net<Desk>, own: HostId) -> (Self, Listener) {
        let (listener, incoming) = mpsc::channel(BACKLOG_MAX);
        (Self { net, own, incoming: tokio::sync::Mutex::new(incoming) }, listener)
    }
}

/// One direction of a link.
#[derive(Debug)]
struct Sending {
    net: Net<Desk>,
    from: HostId,
    to: HostId,
    channel: u64,
    inbox: Arc<Mutex<Option<mpsc::Sender<Bytes>>>>,
    broken: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Receiving(mpsc::Receiver<Bytes>);

/// A direction of a link, as its two sides have it.
fn direction(net: &Net<Desk>, from: HostId, to: HostId) -> (Sending, Receiving) {
    let (inbox, receiver) = mpsc::channel(FRAMES_MAX);
    let sending = Sending {
        net: net.clone(),
        from,
        to,
        channel: net.new_channel(),
        inbox: Arc::new(Mutex::new(Some(inbox))),
        broken: Arc::new(AtomicBool::new(false)),
    };
    (sending, Receiving(receiver))
}

impl Transport for SimTransport {
    fn dial<'a>(&'a self, url: &'a str) -> BoxFuture<'a, io::Result<Link>> {
        Box::pin(async move {
            let to = host_of(url).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
            let (net, own) = (self.net.clone(), self.own);
            let (send, answered) = oneshot::channel();
            let arrival = Box::new(move |desk: &Desk| {
                let (there, here) = (direction(&net, to, own), direction(&net, own, to));
                let theirs =
                    Link { sender: Box::new(there.0), receiver: Box::new(here.1), peer: peer_url(own) };
                let ours = Link { sender: Box::new(here.0), receiver: Box::new(there.1), peer: peer_url(to) };
                let accepted = desk.listener().is_some_and(|listener| listener.try_send(theirs).is_ok());
                let answer = accepted.then_some(ours);
                net.send(to, own, Box::new(move |_: &Desk| drop(send.send(answer))));
            });
            self.net.send(own, to, arrival);
            match tokio::time::timeout(DIAL_MAX, answered).await {
                Ok(Ok(Some(link))) => Ok(link),
                Ok(Ok(None)) => Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
                // The call or its answer was lost.
                Ok(Err(_)) => {
                    tokio::time::sleep(DIAL_MAX).await;
                    Err(io::Error::from(io::ErrorKind::TimedOut))
                }
                Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
            }
        })
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<Link>> {
        Box::pin(async move {
            match self.incoming.lock().await.recv().await {
                Some(link) => Ok(link),
                None => std::future::pending().await,
            }
        })
    }

    fn close(&self) {}
}

impl LinkSender for Sending {
    fn send<'a>(&'a mut self, frames: &'a mut Vec<Bytes>) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            if self.broken.load(Ordering::Acquire) {
                return Err(io::Error::from(io::ErrorKind::BrokenPipe));
            }
            for frame in frames.drain(..) {
                let (inbox, broken) = (Arc::clone(&self.inbox), Arc::clone(&self.broken));
                let (net, from, to) = (self.net.clone(), self.from, self.to);
                let arrival = Box::new(move |_: &Desk| {
                    let mut open = inbox.lock();
                    if open.as_ref().is_none_or(|inbox| inbox.try_send(frame).is_err()) {
                        *open = None;
                        // Nobody has this link here any more, and says so.
                        net.send(to, from, Box::new(move |_: &Desk| broken.store(true, Ordering::Release)));
                    }
                });
                self.net.send_in_order(self.from, self.to, self.channel, arrival);
            }
            Ok(())
        })
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let inbox = Arc::clone(&self.inbox);
        self.net.send_in_order(
            self.from,
            self.to,
            self.channel,
            Box::new(move |_: &Desk| *inbox.lock() = None),
        );
    }
}

impl LinkReceiver for Receiving {
    fn receive(&mut self) -> BoxFuture<'_, io::Result<Option<Bytes>>> {
        Box::pin(async move { Ok(self.0.recv().await) })
    }
}
