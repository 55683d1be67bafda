//! The seam between members: ways that carry frames, in order. What the frames say is decided above it, once for all transports.
use std::fmt::Debug;
use std::io;

use bytes::Bytes;
use futures::future::BoxFuture;

/// No frame is larger; receivers refuse what claims to be.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

/// Opens and accepts links between members. Cheap to share; one per open store.
///
/// Implementations: [`MemoryNetwork`](crate::MemoryNetwork) in one process, [`TcpTransport`](crate::TcpTransport) between machines.
pub trait Transport: Debug + Send + Sync + 'static {
    /// Opens a link to the member that listens at a peer URL.
    ///
    /// # Errors
    /// [`io::ErrorKind::ConnectionRefused`] means that nobody listens there: the member's process has ended. Return it only if that is certain;
    /// members stop waiting for a leader that is refused.
    fn dial<'a>(&'a self, url: &'a str) -> BoxFuture<'a, io::Result<Link>>;

    /// Waits for the next link that another member opens. After an error it is called again.
    ///
    /// # Cancel safety
    /// Must lose no link if the future is dropped.
    fn accept(&self) -> BoxFuture<'_, io::Result<Link>>;

    /// Stops listening; called once, when the store closes.
    fn close(&self);
}

/// An open way to another member. Frames arrive whole and in order, or the link ends.
#[derive(Debug)]
pub struct Link {
    /// Towards the other member.
    pub sender: Box<dyn LinkSender>,
    /// From the other member.
    pub receiver: Box<dyn LinkReceiver>,
    /// Whom it leads to, for logs.
    pub peer: String,
}

/// The sending half of a link.
pub trait LinkSender: Debug + Send {
    /// Sends frames in order and empties the list. Returns when they are on their way.
    fn send<'a>(&'a mut self, frames: &'a mut Vec<Bytes>) -> BoxFuture<'a, io::Result<()>>;
}

/// The receiving half of a link.
pub trait LinkReceiver: Debug + Send {
    /// The next frame; none when the other side has ended the link.
    ///
    /// # Cancel safety
    /// Need not be cancel safe: it is called in a loop of its own.
    fn receive(&mut self) -> BoxFuture<'_, io::Result<Option<Bytes>>>;
}
