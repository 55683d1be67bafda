//! The server side of a SPDY connection: hands out the client's streams, carries their bytes.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::frame::{self, Frame};
use super::headers::{HeaderReader, HeaderWriter, Headers};
use crate::streams::channel::{In, Out, Outgoing};

/// Streams a client may have open.
const STREAMS_MAX: usize = 1024;
/// Chunks of one stream waiting for their reader; a full stream holds up the connection.
const CHUNKS_MAX: usize = 64;
const NEW_MAX: usize = 64;
const OUTGOING_MAX: usize = 64;
/// `REFUSED_STREAM` and `INVALID_STREAM` of the draft.
const REFUSED: u32 = 3;
const INVALID: u32 = 2;

/// A stream that the client opened.
pub(crate) struct SpdyStream {
    pub id: u32,
    pub headers: Headers,
    pub input: In,
    pub output: Out,
}

/// The streams of a connection; the driver that [`Connection::new`] returns must be polled beside it.
pub(crate) struct Connection {
    /// The client's streams in the order they were opened; `None` when the connection has ended.
    pub streams: mpsc::Receiver<SpdyStream>,
}

impl Connection {
    /// Speaks SPDY over `io`. The future ends with the connection.
    pub(crate) fn new<T>(io: T) -> Result<(Self, impl Future<Output = Result<(), String>>), String>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let (sender, streams) = mpsc::channel(NEW_MAX);
        let (outgoing, queue) = mpsc::channel(OUTGOING_MAX);
        let driver = Driver {
            new: sender,
            outgoing,
            reader: HeaderReader::new(),
            writer: HeaderWriter::new()?,
            inputs: BTreeMap::new(),
        };
        Ok((Self { streams }, driver.run(io, queue)))
    }
}

struct Driver {
    new: mpsc::Sender<SpdyStream>,
    outgoing: mpsc::Sender<Outgoing>,
    reader: HeaderReader,
    writer: HeaderWriter,
    inputs: BTreeMap<u32, mpsc::Sender<Bytes>>,
}

impl Driver {
    async fn run<T>(mut self, io: T, mut queue: mpsc::Receiver<Outgoing>) -> Result<(), String>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let (mut source, mut sink) = tokio::io::split(io);
        let (control, mut controls) = mpsc::channel::<Frame>(NEW_MAX);
        let reading = async {
            let mut buffer = BytesMut::with_capacity(16 << 10);
            loop {
                while let Some(frame) = frame::parse(&mut buffer)? {
                    if !self.take(frame, &control).await? {
                        return Ok(());
                    }
                }
                let count = source.read_buf(&mut buffer).await.map_err(|e| e.to_string())?;
                if count == 0 {
                    return Ok(());
                }
            }
        };
        let writing = async {
            loop {
                let mut out = BytesMut::new();
                tokio::select! {
                    biased;
                    Some(frame) = controls.recv() => frame::write(&frame, &mut out),
                    Some(next) = queue.recv() => frame::write(&data(next), &mut out),
                    else => return Ok::<(), String>(()),
                }
                while out.len() < 64 << 10 {
                    match queue.try_recv() {
                        Ok(next) => frame::write(&data(next), &mut out),
                        Err(_) => break,
                    }
                }
                sink.write_all(&out).await.map_err(|e| e.to_string())?;
                sink.flush().await.map_err(|e| e.to_string())?;
            }
        };
        // Either side's end is the connection's end; what is dropped half-way belongs to it alone.
        tokio::select! {
            done = reading => done,
            done = writing => done,
        }
    }

    /// False when the client says goodbye.
    async fn take(&mut self, frame: Frame, control: &mpsc::Sender<Frame>) -> Result<bool, String> {
        let answer =
            |frame: Frame| async move { control.send(frame).await.map_err(|_closed| "closed".to_owned()) };
        match frame {
            Frame::SynStream { stream, fin, block } => {
                let headers = self.reader.read(&block)?;
                if self.inputs.len() >= STREAMS_MAX || stream % 2 == 0 || self.inputs.contains_key(&stream) {
                    answer(Frame::Reset { stream, status: REFUSED }).await?;
                    return Ok(true);
                }
                let block = self.writer.write(&Headers::new())?;
                answer(Frame::SynReply { stream, fin: false, block: block.into() }).await?;
                let (sender, input) = mpsc::channel(CHUNKS_MAX);
                if !fin {
                    self.inputs.insert(stream, sender);
                }
                let output = Out::new(stream, self.outgoing.clone());
                let opened = SpdyStream { id: stream, headers, input, output };
                return Ok(self.new.send(opened).await.is_ok());
            }
            Frame::Data { stream, fin, bytes } => {
                match self.inputs.get(&stream) {
                    // A reader that is gone wants no more: its bytes are dropped, as after a reset.
                    Some(input) if !bytes.is_empty() => drop(input.send(bytes).await),
                    Some(_) => {}
                    None if bytes.is_empty() => {}
                    None => answer(Frame::Reset { stream, status: INVALID }).await?,
                }
                if fin {
                    self.inputs.remove(&stream);
                }
            }
            Frame::Headers { stream, fin, block } => {
                self.reader.read(&block)?;
                if fin {
                    self.inputs.remove(&stream);
                }
            }
            Frame::SynReply { block, .. } => drop(self.reader.read(&block)?),
            Frame::Reset { stream, .. } => drop(self.inputs.remove(&stream)),
            // Odd pings are the client's; an answer to one of ours has nobody waiting.
            Frame::Ping { id } if id % 2 == 1 => answer(Frame::Ping { id }).await?,
            Frame::GoAway => return Ok(false),
            Frame::Ping { .. } | Frame::Ignored => {}
        }
        Ok(true)
    }
}

fn data(next: Outgoing) -> Frame {
    match next.bytes {
        Some(bytes) => Frame::Data { stream: next.channel, fin: false, bytes },
        None => Frame::Data { stream: next.channel, fin: true, bytes: Bytes::new() },
    }
}
