//! Numbered byte channels: what WebSocket channels and SPDY streams have in common.

use bytes::Bytes;
use tokio::sync::mpsc;

/// What the client sends on one channel; closed at its end of file.
pub(crate) type In = mpsc::Receiver<Bytes>;

/// Bytes for one channel, or its end.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub channel: u32,
    pub bytes: Option<Bytes>,
}

/// The writing end of one channel.
#[derive(Debug, Clone)]
pub(crate) struct Out {
    channel: u32,
    queue: mpsc::Sender<Outgoing>,
}

/// The client is gone.
#[derive(Debug)]
pub(crate) struct Gone;

impl Out {
    /// Writes to `channel` of the connection behind `queue`.
    pub(crate) fn new(channel: u32, queue: mpsc::Sender<Outgoing>) -> Self {
        Self { channel, queue }
    }

    /// Sends bytes; waits while the client is slow.
    pub(crate) async fn send(&self, bytes: Bytes) -> Result<(), Gone> {
        let outgoing = Outgoing { channel: self.channel, bytes: Some(bytes) };
        self.queue.send(outgoing).await.map_err(|_closed| Gone)
    }

    /// Says that nothing more comes.
    pub(crate) async fn end(&self) {
        // A client that is gone needs no end.
        self.queue.send(Outgoing { channel: self.channel, bytes: None }).await.ok();
    }
}
