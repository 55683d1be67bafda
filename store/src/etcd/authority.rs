//! Lets in etcdctl 3.4, which sends the whole URL of an endpoint as `:authority` where it asks one member alone (`http://127.0.0.1:2379`): no
//! authority, and our HTTP/2 library refuses the request before we see it. etcd's overlooks it, and nothing here looks at authorities either.
//!
//! So the bytes of a connection are followed from its preface to its first request. If that one names a URL, `://` becomes `B--`, which may
//! stand in an authority and has as many characters and, in HPACK's Huffman code, as many bits: nothing changes its length, and client and
//! server agree on the dynamic table. Other clients' bytes are passed on untouched, and after the first request not even looked at.
//!
//! It must never grow a buffer beyond one frame, and never judge: what it does not understand is passed on for the library to refuse.
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What an HTTP/2 client says first (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEADER_BYTES: usize = 9;
const HEADERS: u8 = 1;
const PADDED: u8 = 0x08;
const WITH_PRIORITY: u8 = 0x20;
/// The largest frame that the library takes, as we do not allow larger ones.
const FRAME_BYTES_MAX: usize = 16 << 10;
/// So many header fields are looked through: pseudo headers come first, and there are four.
const FIELDS_MAX: usize = 8;
/// `:authority` in HPACK's static table (RFC 7541, appendix A).
const AUTHORITY_INDEX: usize = 1;
/// Read at once while the connection is followed.
const READ_BYTES: usize = 8 << 10;

/// What such an authority begins with, and what stands for it.
const URLS: [(&[u8], &[u8]); 2] = [(b"http://", b"httpB--"), (b"https://", b"httpsB--")];

/// HPACK's Huffman code of the characters above: code and bits (RFC 7541, appendix B).
const fn huffman(character: u8) -> (u64, u32) {
    match character {
        b'h' => (0b10_0111, 6),
        b't' => (0b0_1001, 5),
        b'p' => (0b10_1011, 6),
        b's' => (0b0_1000, 5),
        b':' => (0b101_1100, 7),
        b'/' => (0b01_1000, 6),
        b'B' => (0b101_1101, 7),
        b'-' => (0b01_0110, 6),
        _ => (0, 0),
    }
}

/// A text of at most eight characters in Huffman code, from the highest bit on, and its bits.
fn encoded(text: &[u8]) -> (u64, u32) {
    let (code, bits) = text.iter().fold((0, 0), |(code, bits), character| {
        let (next, length) = huffman(*character);
        (code << length | next, bits + length)
    });
    (code << (64 - bits), bits)
}

/// Where a connection is.
#[derive(Debug)]
enum Phase {
    /// The client has not finished its preface.
    Preface,
    /// A frame begins; whether one was changed before.
    Frame { changing: bool },
    /// So many bytes of a frame follow.
    Within { bytes: usize, changing: bool },
    /// Nothing more is looked at.
    Passing,
}

/// A connection that is read through this.
#[derive(Debug)]
pub(super) struct Authorities<S> {
    stream: S,
    phase: Phase,
    /// Read, but not understood yet.
    read: BytesMut,
    /// To be handed out.
    ready: BytesMut,
}

impl<S> Authorities<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, phase: Phase::Preface, read: BytesMut::new(), ready: BytesMut::new() }
    }

    /// Moves what is understood to what is ready.
    fn follow(&mut self) {
        loop {
            let take = match self.phase {
                Phase::Preface => {
                    let begun = self.read.len().min(PREFACE.len());
                    if self.read.get(..begun) != PREFACE.get(..begun) {
                        self.phase = Phase::Passing;
                        continue;
                    }
                    if begun < PREFACE.len() {
                        return;
                    }
                    self.phase = Phase::Frame { changing: false };
                    begun
                }
                Phase::Frame { changing } => {
                    let Some((bytes, kind, flags)) = frame_header(&self.read) else { return };
                    if kind == HEADERS {
                        if bytes > FRAME_BYTES_MAX {
                            self.phase = Phase::Passing;
                            continue;
                        }
                        let Some(block) = self.read.get_mut(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + bytes)
                        else {
                            return;
                        };
                        if !change(block, flags) && !changing {
                            self.phase = Phase::Passing;
                            continue;
                        }
                        self.phase = Phase::Within { bytes: FRAME_HEADER_BYTES + bytes, changing: true };
                    } else {
                        self.phase = Phase::Within { bytes: FRAME_HEADER_BYTES + bytes, changing };
                    }
                    continue;
                }
                Phase::Within { bytes: 0, changing } => {
                    self.phase = Phase::Frame { changing };
                    continue;
                }
                Phase::Within { bytes, changing } => {
                    let taken = bytes.min(self.read.len());
                    if taken == 0 {
                        return;
                    }
                    self.phase = Phase::Within { bytes: bytes - taken, changing };
                    taken
                }
                Phase::Passing => self.read.len(),
            };
            let understood = self.read.split_to(take);
            if self.ready.is_empty() {
                self.ready = understood;
            } else {
                self.ready.extend_from_slice(&understood);
            }
            if matches!(self.phase, Phase::Passing) {
                return;
            }
        }
    }
}

/// What comes out of a connection on which these bytes come in, in pieces.
#[cfg(any(test, fuzzing))]
pub(super) fn passed(bytes: &[u8], piece_bytes: usize) -> Vec<u8> {
    let mut connection = Authorities::new(());
    for piece in bytes.chunks(piece_bytes.max(1)) {
        connection.read.extend_from_slice(piece);
        connection.follow();
    }
    [&connection.ready[..], &connection.read[..]].concat()
}

/// A frame's length, type and flags.
fn frame_header(bytes: &[u8]) -> Option<(usize, u8, u8)> {
    match *bytes.first_chunk::<FRAME_HEADER_BYTES>()? {
        [high, middle, low, kind, flags, ..] => {
            Some((u32::from_be_bytes([0, high, middle, low]) as usize, kind, flags))
        }
    }
}

/// Changes the authority of a request's headers if it begins with a URL's scheme; says whether it did.
fn change(block: &mut [u8], flags: u8) -> bool {
    let before = usize::from(flags & PADDED != 0) + if flags & WITH_PRIORITY == 0 { 0 } else { 5 };
    let Some(fields) = block.get_mut(before..) else { return false };
    let Some((at, length, is_huffman)) = authority(fields) else { return false };
    let Some(value) = fields.get_mut(at..at + length) else { return false };
    URLS.iter().any(|(from, to)| {
        if is_huffman { replace_bits(value, encoded(from), encoded(to).0) } else { replace(value, from, to) }
    })
}

/// Where the value of the first literal `:authority` lies, its length, and whether it is in Huffman code.
fn authority(fields: &[u8]) -> Option<(usize, usize, bool)> {
    let mut at = 0;
    for _ in 0..FIELDS_MAX {
        let first = *fields.get(at)?;
        // Indexed; literal with indexing; size of the table; literal without indexing.
        let (prefix_bits, is_literal) = match first {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => (5, false),
            _ => (4, true),
        };
        let (index, after) = integer(fields, at, prefix_bits)?;
        at = after;
        if !is_literal {
            continue;
        }
        if index == 0 {
            let (length, name) = integer(fields, at, 7)?;
            at = name.checked_add(length)?;
        }
        let is_huffman = *fields.get(at)? >= 0x80;
        let (length, value) = integer(fields, at, 7)?;
        if index == AUTHORITY_INDEX {
            return Some((value, length, is_huffman));
        }
        at = value.checked_add(length)?;
    }
    None
}

/// An integer of HPACK in the lowest bits of a byte and those that follow, and where it ends; none if it is longer than any length can be here.
fn integer(bytes: &[u8], at: usize, prefix_bits: u32) -> Option<(usize, usize)> {
    let full = (1 << prefix_bits) - 1;
    let mut value = usize::from(*bytes.get(at)?) & full;
    let mut at = at + 1;
    if value < full {
        return Some((value, at));
    }
    for shift in [0, 7, 14] {
        let byte = *bytes.get(at)?;
        at += 1;
        value += usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some((value, at));
        }
    }
    None
}

fn replace(value: &mut [u8], from: &[u8], to: &[u8]) -> bool {
    match value.get_mut(..from.len()) {
        Some(begin) if begin == from => {
            begin.copy_from_slice(to);
            true
        }
        Some(_) | None => false,
    }
}

/// The same where characters are not whole bytes: the first bits are compared and replaced.
fn replace_bits(value: &mut [u8], (from, bits): (u64, u32), to: u64) -> bool {
    let Some(begin) = value.first_chunk_mut::<8>() else { return false };
    let word = u64::from_be_bytes(*begin);
    let mask = !(u64::MAX >> bits);
    let is_url = word & mask == from;
    if is_url {
        *begin = (word & !mask | to).to_be_bytes();
    }
    is_url
}

impl<S: AsyncRead + Unpin> AsyncRead for Authorities<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.ready.is_empty() {
                let taken = this.ready.len().min(out.remaining());
                out.put_slice(this.ready.get(..taken).unwrap_or_default());
                this.ready.advance(taken);
                if this.ready.is_empty() {
                    this.ready = BytesMut::new();
                }
                return Poll::Ready(Ok(()));
            }
            if matches!(this.phase, Phase::Passing) {
                return Pin::new(&mut this.stream).poll_read(context, out);
            }
            let mut piece = [0; READ_BYTES];
            let mut piece = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut piece))?;
            if piece.filled().is_empty() {
                // The end; what was begun is passed on as it is.
                this.phase = Phase::Passing;
                this.ready = std::mem::take(&mut this.read);
                if this.ready.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            this.read.extend_from_slice(piece.filled());
            this.follow();
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Authorities<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// Gives what it has in pieces of one size.
    struct Pieces(Vec<u8>, usize);

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            out: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let taken = self.1.min(self.0.len()).min(out.remaining());
            let piece: Vec<u8> = self.0.drain(..taken).collect();
            out.put_slice(&piece);
            Poll::Ready(Ok(()))
        }
    }

    async fn through(sent: &[u8], piece_bytes: usize) -> Vec<u8> {
        let mut received = Vec::new();
        let mut connection = Authorities::new(Pieces(sent.to_vec(), piece_bytes));
        connection.read_to_end(&mut received).await.unwrap();
        received
    }

    fn frame(kind: u8, flags: u8, content: &[u8]) -> Vec<u8> {
        let mut frame = (content.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 1]);
        frame.extend_from_slice(content);
        frame
    }

    /// The begin of the headers that etcdctl 3.4 sends for `endpoint status`: method, scheme, path, and the authority `http://127.0.0.1:46805`.
    fn of_etcdctl(scheme: &str) -> Vec<u8> {
        let mut block = hex("8386459760a924882d9dcb6571afa066a925a87510ac6e48d36a3f41");
        match scheme {
            "http" => block.extend(hex("909d29aee30c044eae05c0b86e34e3c06f")),
            // Not in Huffman code, as other clients may have it.
            plain => {
                let authority = format!("{plain}://127.0.0.1:46805");
                block.push(authority.len() as u8);
                block.extend_from_slice(authority.as_bytes());
            }
        }
        block.extend(hex("5f8b1d75d0620d263d4c4d6564"));
        block
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    fn connection(headers: &[Vec<u8>]) -> Vec<u8> {
        let mut sent = PREFACE.to_vec();
        sent.extend(frame(4, 0, &[]));
        for block in headers {
            sent.extend(frame(HEADERS, 4, block));
            sent.extend(frame(0, 1, b"data that is not looked at: http://"));
        }
        sent
    }

    #[tokio::test]
    async fn a_url_becomes_an_authority_of_the_same_length_however_it_arrives() {
        let sent = connection(&[of_etcdctl("http"), of_etcdctl("https"), of_etcdctl("http")]);
        let whole = through(&sent, usize::MAX).await;
        assert_eq!(whole.len(), sent.len());
        let changed = sent.iter().zip(&whole).filter(|(before, after)| before != after).count();
        assert!((4..=12).contains(&changed), "only `://` in three places: {changed} bytes");
        assert!(whole.windows(10).any(|window| window == b"httpsB--12"));
        // `httpB--` in Huffman code, and the same bits of `127…` after it.
        let wanted = hex("909d29aeeacb044eae05c0b86e34e3c06f");
        let found = whole.windows(wanted.len()).filter(|window| **window == wanted).count();
        assert_eq!(found, 2, "{whole:02x?}");
        for piece_bytes in [1, 2, 3, 7, 24, 25, 33, 100] {
            assert_eq!(through(&sent, piece_bytes).await, whole, "in pieces of {piece_bytes}");
        }
    }

    #[tokio::test]
    async fn what_other_clients_send_is_passed_on_as_it_is() {
        let good = hex("8386459060a924882d9dcb6571af9b8b1b4754c5418b089d5c0b8170dc69c780df5f8b1d75d062");
        let http2 = connection(&[good, of_etcdctl("http")]);
        let http1 = b"GET http://x/health HTTP/1.1\r\nhost: x\r\n\r\n".to_vec();
        let begun = PREFACE[..9].to_vec();
        let cut = connection(&[of_etcdctl("https")])[..60].to_vec();
        let large = frame(HEADERS, 4, &vec![0x41; FRAME_BYTES_MAX + 1]);
        for sent in [http2, http1, begun, cut, [PREFACE.to_vec(), large].concat(), Vec::new()] {
            for piece_bytes in [1, 5, usize::MAX] {
                assert_eq!(through(&sent, piece_bytes).await, sent);
            }
        }
    }

    #[tokio::test]
    async fn headers_that_make_no_sense_are_passed_on() {
        for block in
            [hex("41"), hex("4190"), hex("41ffffffffff"), hex("00ff"), hex("7fffffffff7f"), vec![0x20; 64]]
        {
            for flags in [0, 4, PADDED, WITH_PRIORITY, PADDED | WITH_PRIORITY] {
                let sent = [PREFACE.to_vec(), frame(HEADERS, flags, &block)].concat();
                assert_eq!(through(&sent, usize::MAX).await, sent);
            }
        }
    }
}
