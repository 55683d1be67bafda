//! Members in one process: links are queues. For tests, for simulations, and for programs that run a whole cluster by themselves.
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use crate::api::{Link, LinkReceiver, LinkSender, Transport};

/// So many links wait to be accepted.
const BACKLOG_MAX: usize = 128;
/// So many frames are on their way in one direction of a link.
const FRAMES_MAX: usize = 256;

/// A network inside this process. Clones are the same network.
#[derive(Clone, Debug, Default)]
pub struct MemoryNetwork {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    listeners: Mutex<HashMap<String, Listener>>,
    /// Pairs (from, to) of names between which nothing passes.
    cuts: watch::Sender<BTreeSet<(String, String)>>,
    /// How often all links were broken.
    breaks: watch::Sender<u64>,
}

#[derive(Clone, Debug)]
struct Listener {
    owner: String,
    links: mpsc::Sender<Link>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            listeners: Mutex::default(),
            cuts: watch::Sender::new(BTreeSet::new()),
            breaks: watch::Sender::new(0),
        }
    }
}

impl MemoryNetwork {
    /// A network without members.
    pub fn new() -> Self {
        Self::default()
    }

    /// The end of the network for a member, which listens at `urls`. `name` is what [`MemoryNetwork::cut`] calls it.
    pub fn transport<U: Into<String>>(
        &self,
        name: impl Into<String>,
        urls: impl IntoIterator<Item = U>,
    ) -> MemoryTransport {
        let owner = name.into();
        let urls: Vec<String> = urls.into_iter().map(Into::into).collect();
        let (links, incoming) = mpsc::channel(BACKLOG_MAX);
        let mut listeners = self.shared.listeners.lock();
        for url in &urls {
            listeners.insert(url.clone(), Listener { owner: owner.clone(), links: links.clone() });
        }
        drop(listeners);
        MemoryTransport {
            network: self.clone(),
            owner,
            urls,
            links,
            incoming: tokio::sync::Mutex::new(incoming),
        }
    }

    /// Lets nothing pass from one member to another; call it twice for both directions. What is sent waits, as in a network that loses packets.
    pub fn cut(&self, from: &str, to: &str) {
        self.shared.cuts.send_modify(|cuts| {
            cuts.insert((from.to_owned(), to.to_owned()));
        });
    }

    /// Lets nothing pass between a member and all others, in both directions.
    pub fn isolate(&self, name: &str) {
        let others: BTreeSet<String> =
            self.shared.listeners.lock().values().map(|listener| listener.owner.clone()).collect();
        self.shared.cuts.send_modify(|cuts| {
            for other in others.iter().filter(|other| *other != name) {
                cuts.insert((name.to_owned(), other.clone()));
                cuts.insert((other.clone(), name.to_owned()));
            }
        });
    }

    /// Lets everything pass again.
    pub fn heal(&self) {
        self.shared.cuts.send_modify(BTreeSet::clear);
    }

    /// Breaks all links; what is on its way on them is lost. Members may open new ones.
    pub fn break_links(&self) {
        self.shared.breaks.send_modify(|breaks| *breaks += 1);
    }

    /// Waits until frames pass from one member to another.
    async fn passes(&self, from: &str, to: &str) {
        let mut cuts = self.shared.cuts.subscribe();
        let pair = (from.to_owned(), to.to_owned());
        // The sender lives as long as the network, so this ends only when the way is free.
        drop(cuts.wait_for(|cuts| !cuts.contains(&pair)).await);
    }
}

/// One member's end of a [`MemoryNetwork`].
#[derive(Debug)]
pub struct MemoryTransport {
    network: MemoryNetwork,
    owner: String,
    urls: Vec<String>,
    links: mpsc::Sender<Link>,
    incoming: tokio::sync::Mutex<mpsc::Receiver<Link>>,
}

impl Transport for MemoryTransport {
    fn dial<'a>(&'a self, url: &'a str) -> BoxFuture<'a, io::Result<Link>> {
        Box::pin(async move {
            let refused =
                || io::Error::new(io::ErrorKind::ConnectionRefused, format!("nobody listens at {url}"));
            let listener = self.network.shared.listeners.lock().get(url).cloned().ok_or_else(refused)?;
            self.network.passes(&self.owner, &listener.owner).await;
            let (there, here) = (mpsc::channel(FRAMES_MAX), mpsc::channel(FRAMES_MAX));
            let half = |queue, from: &str, to: &str| {
                let (from, to) = (from.to_owned(), to.to_owned());
                let broken = self.network.shared.breaks.subscribe();
                Box::new(MemorySender { network: self.network.clone(), from, to, queue, broken })
            };
            let receiving = |queue| {
                let broken = self.network.shared.breaks.subscribe();
                Box::new(MemoryReceiver { queue, broken })
            };
            let theirs = Link {
                sender: half(here.0, &listener.owner, &self.owner),
                receiver: receiving(there.1),
                peer: self.owner.clone(),
            };
            listener.links.send(theirs).await.map_err(|_gone| refused())?;
            Ok(Link {
                sender: half(there.0, &self.owner, &listener.owner),
                receiver: receiving(here.1),
                peer: listener.owner,
            })
        })
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<Link>> {
        Box::pin(async move {
            let link = self.incoming.lock().await.recv().await;
            link.ok_or_else(|| io::Error::other("the transport is closed"))
        })
    }

    fn close(&self) {
        // Only what is ours: a later member may listen at the same place already.
        let mut listeners = self.network.shared.listeners.lock();
        for url in &self.urls {
            if listeners.get(url).is_some_and(|listener| listener.links.same_channel(&self.links)) {
                listeners.remove(url);
            }
        }
    }
}

impl Drop for MemoryTransport {
    fn drop(&mut self) {
        self.close();
    }
}

#[derive(Debug)]
struct MemorySender {
    network: MemoryNetwork,
    from: String,
    to: String,
    queue: mpsc::Sender<Bytes>,
    broken: watch::Receiver<u64>,
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the link broke")
}

impl LinkSender for MemorySender {
    fn send<'a>(&'a mut self, frames: &'a mut Vec<Bytes>) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let ended = || io::Error::new(io::ErrorKind::BrokenPipe, "the other member has ended the link");
            for frame in frames.drain(..) {
                tokio::select! {
                    biased;
                    _ = self.broken.changed() => return Err(broken()),
                    () = self.queue.closed() => return Err(ended()),
                    () = self.network.passes(&self.from, &self.to) => {}
                }
                self.queue.send(frame).await.map_err(|_closed| ended())?;
            }
            Ok(())
        })
    }
}

#[derive(Debug)]
struct MemoryReceiver {
    queue: mpsc::Receiver<Bytes>,
    broken: watch::Receiver<u64>,
}

impl LinkReceiver for MemoryReceiver {
    fn receive(&mut self) -> BoxFuture<'_, io::Result<Option<Bytes>>> {
        Box::pin(async move {
            tokio::select! {
                biased;
                _ = self.broken.changed() => Err(broken()),
                frame = self.queue.recv() => Ok(frame),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &'static str) -> Vec<Bytes> {
        vec![Bytes::from_static(text.as_bytes())]
    }

    #[tokio::test]
    async fn a_cut_holds_frames_back_until_it_heals() {
        let network = MemoryNetwork::new();
        let (a, b) = (network.transport("a", ["a:1"]), network.transport("b", ["b:1"]));
        let mut there = a.dial("b:1").await.unwrap();
        let mut here = b.accept().await.unwrap();
        there.sender.send(&mut frame("one")).await.unwrap();
        assert_eq!(here.receiver.receive().await.unwrap().unwrap(), "one");
        network.cut("a", "b");
        let mut two = frame("two");
        let sending = there.sender.send(&mut two);
        tokio::pin!(sending);
        assert!(futures::poll!(&mut sending).is_pending());
        here.sender.send(&mut frame("back")).await.unwrap();
        assert_eq!(there.receiver.receive().await.unwrap().unwrap(), "back", "the other direction is open");
        network.heal();
        sending.await.unwrap();
        assert_eq!(here.receiver.receive().await.unwrap().unwrap(), "two");
    }

    #[tokio::test]
    async fn a_member_that_has_closed_refuses_and_its_links_end() {
        let network = MemoryNetwork::new();
        let (a, b) = (network.transport("a", ["a:1"]), network.transport("b", ["b:1"]));
        let mut there = a.dial("b:1").await.unwrap();
        drop(b);
        assert_eq!(a.dial("b:1").await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(there.receiver.receive().await.unwrap(), None);
    }
}
