//! As little of HTTP/2 and gRPC as a generator of load needs. It shares its cores with the server, and a whole client library costs more of them
//! than a server does: what is measured would be the library.
//!
//! Many calls share a connection, and one task reads and writes it: whatever came in at once is answered by one write. Headers of responses are not
//! decoded. A call that is refused has trailers only, no message, and ends the bench.
use std::collections::HashMap;

use bytes::{Buf, BufMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEADER_BYTES: usize = 9;
/// Before a gRPC message: whether it is compressed, and its length.
const MESSAGE_HEADER_BYTES: usize = 5;
const READ_BYTES: usize = 256 << 10;
/// What a server may send before it hears of more, for one stream and for all.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// What a server sent on a stream.
pub(crate) enum Sent<'m> {
    /// A message.
    Message(&'m [u8]),
    /// The end.
    End,
}

/// A connection for calls of one method.
pub(crate) struct Wire {
    stream: TcpStream,
    path: &'static str,
    authority: String,
    out: Vec<u8>,
    input: Vec<u8>,
    next_stream: u32,
    /// What the server takes of data now, over all streams.
    room: i64,
    /// What came since the server was last told that it may send more.
    received: u32,
    open: HashMap<u32, Incoming>,
}

#[derive(Default)]
struct Incoming {
    /// A message that has not arrived whole.
    begun: Vec<u8>,
    received: u32,
}

impl Wire {
    /// Connects to `http://HOST:PORT`, for calls of `/SERVICE/METHOD`.
    pub(crate) async fn connect(endpoint: &str, path: &'static str) -> Self {
        let authority = endpoint.trim_start_matches("http://").to_owned();
        let stream = TcpStream::connect(&authority).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut out = PREFACE.to_vec();
        frame(&mut out, SETTINGS, 0, 0, 6);
        out.put_u16(4); // SETTINGS_INITIAL_WINDOW_SIZE
        out.put_u32(STREAM_WINDOW);
        frame(&mut out, WINDOW_UPDATE, 0, 0, 4);
        out.put_u32(CONNECTION_WINDOW - 65_535);
        Self {
            stream,
            path,
            authority,
            out,
            input: Vec::with_capacity(2 * READ_BYTES),
            next_stream: 1,
            room: 65_535,
            received: 0,
            open: HashMap::new(),
        }
    }

    /// Whether a request of so many bytes may be sent now.
    pub(crate) fn has_room(&self, message_bytes: usize) -> bool {
        self.room > i64::try_from(message_bytes + MESSAGE_HEADER_BYTES).unwrap()
    }

    /// Begins a call with its first message; sent with the next [`Wire::flush`]. Returns the stream's number.
    pub(crate) fn call(&mut self, message: &[u8], is_last: bool) -> u32 {
        let stream = self.next_stream;
        self.next_stream += 2;
        self.put_headers(stream);
        self.open.insert(stream, Incoming::default());
        self.send(stream, message, is_last);
        stream
    }

    /// One more message of a call.
    pub(crate) fn send(&mut self, stream: u32, message: &[u8], is_last: bool) {
        let bytes = message.len() + MESSAGE_HEADER_BYTES;
        frame(&mut self.out, DATA, if is_last { END_STREAM } else { 0 }, stream, bytes);
        self.out.put_u8(0);
        self.out.put_u32(message.len() as u32);
        self.out.put_slice(message);
        self.room -= i64::try_from(bytes).unwrap();
    }

    /// The first request's header fields enter the dynamic table; later ones are five indexes.
    fn put_headers(&mut self, stream: u32) {
        let mut block = vec![0x83, 0x86]; // :method POST, :scheme http
        if stream == 1 {
            let mut literal = |name: &[u8], value: &str| {
                block.extend_from_slice(name);
                block.push(value.len() as u8);
                block.extend_from_slice(value.as_bytes());
            };
            literal(&[0x44], self.path);
            literal(&[0x41], &self.authority);
            literal(&[0x5f], "application/grpc"); // content-type
            literal(&[0x40, 2, b't', b'e'], "trailers");
        } else {
            block.extend([65, 64, 63, 62].map(|index| 0x80 + index));
        }
        frame(&mut self.out, HEADERS, END_HEADERS, stream, block.len());
        self.out.put_slice(&block);
    }

    /// Sends what was put.
    pub(crate) async fn flush(&mut self) {
        if !self.out.is_empty() {
            self.stream.write_all(&self.out).await.unwrap();
            self.out.clear();
        }
    }

    /// Waits for more from the server. Cancel safe.
    pub(crate) async fn read(&mut self) {
        self.input.reserve(READ_BYTES);
        let read = self.stream.read_buf(&mut self.input).await.unwrap();
        assert!(read > 0, "the server ended the connection");
    }

    /// Takes what has arrived whole.
    pub(crate) fn take(&mut self, mut each: impl FnMut(u32, Sent<'_>)) {
        let input = std::mem::take(&mut self.input);
        let mut rest = &input[..];
        while let Some((content, kind, flags, stream)) = next_frame(&mut rest) {
            match kind {
                DATA => self.data(stream, content, flags, &mut each),
                HEADERS if flags & END_STREAM != 0 => self.end(stream, &mut each),
                RST_STREAM => panic!("the server reset a stream: {content:?}"),
                GOAWAY => panic!("the server goes away: {}", String::from_utf8_lossy(content)),
                SETTINGS if flags & ACK == 0 => frame(&mut self.out, SETTINGS, ACK, 0, 0),
                PING if flags & ACK == 0 => {
                    frame(&mut self.out, PING, ACK, 0, content.len());
                    self.out.put_slice(content);
                }
                WINDOW_UPDATE if stream == 0 => self.room += i64::from((&content[..4]).get_u32()),
                _ => {} // headers that begin a response, acknowledgements
            }
        }
        let left = rest.len();
        self.input = input;
        let from = self.input.len() - left;
        self.input.drain(..from);
    }

    fn data(&mut self, stream: u32, content: &[u8], flags: u8, each: &mut impl FnMut(u32, Sent<'_>)) {
        assert_eq!(flags & PADDED, 0, "no server here pads");
        let bytes = content.len() as u32;
        self.received += bytes;
        if self.received >= CONNECTION_WINDOW / 4 {
            window(&mut self.out, 0, std::mem::take(&mut self.received));
        }
        let Some(incoming) = self.open.get_mut(&stream) else { return };
        incoming.received += bytes;
        if incoming.received >= STREAM_WINDOW / 4 && flags & END_STREAM == 0 {
            window(&mut self.out, stream, std::mem::take(&mut incoming.received));
        }
        // Most often a frame is made of whole messages; then nothing is copied.
        if incoming.begun.is_empty() {
            let mut rest = content;
            while let Some(message) = next_message(&mut rest) {
                each(stream, Sent::Message(message));
            }
            incoming.begun.extend_from_slice(rest);
        } else {
            incoming.begun.extend_from_slice(content);
            let mut rest = &incoming.begun[..];
            while let Some(message) = next_message(&mut rest) {
                each(stream, Sent::Message(message));
            }
            let taken = incoming.begun.len() - rest.len();
            incoming.begun.drain(..taken);
        }
        if flags & END_STREAM != 0 {
            self.end(stream, each);
        }
    }

    fn end(&mut self, stream: u32, each: &mut impl FnMut(u32, Sent<'_>)) {
        if self.open.remove(&stream).is_some() {
            each(stream, Sent::End);
        }
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, bytes: usize) {
    out.put_uint(bytes as u64, 3);
    out.put_slice(&[kind, flags]);
    out.put_u32(stream);
}

fn window(out: &mut Vec<u8>, stream: u32, bytes: u32) {
    frame(out, WINDOW_UPDATE, 0, stream, 4);
    out.put_u32(bytes);
}

/// A frame's content, type, flags and stream, if it has arrived whole.
fn next_frame<'i>(rest: &mut &'i [u8]) -> Option<(&'i [u8], u8, u8, u32)> {
    let mut header = rest.get(..FRAME_HEADER_BYTES)?;
    let bytes = header.get_uint(3) as usize;
    let (kind, flags, stream) = (header.get_u8(), header.get_u8(), header.get_u32());
    let content = rest.get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + bytes)?;
    *rest = &rest[FRAME_HEADER_BYTES + bytes..];
    Some((content, kind, flags, stream))
}

/// A gRPC message, if it has arrived whole.
fn next_message<'i>(rest: &mut &'i [u8]) -> Option<&'i [u8]> {
    let mut header = rest.get(..MESSAGE_HEADER_BYTES)?;
    assert_eq!(header.get_u8(), 0, "nobody asked for compression");
    let bytes = header.get_u32() as usize;
    let message = rest.get(MESSAGE_HEADER_BYTES..MESSAGE_HEADER_BYTES + bytes)?;
    *rest = &rest[MESSAGE_HEADER_BYTES + bytes..];
    Some(message)
}
