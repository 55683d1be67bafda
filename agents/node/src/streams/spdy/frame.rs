//! SPDY/3 frames. Parsing is total and bounded.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Frames larger than this end the connection.
const FRAME_BYTES_MAX: usize = 1 << 20;
const VERSION: u16 = 3;
const FIN: u8 = 1;
/// Stream ids have 31 bits.
const ID: u32 = 0x7fff_ffff;

/// A frame with its header block still compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    Data {
        stream: u32,
        fin: bool,
        bytes: Bytes,
    },
    SynStream {
        stream: u32,
        fin: bool,
        block: Bytes,
    },
    SynReply {
        stream: u32,
        fin: bool,
        block: Bytes,
    },
    Reset {
        stream: u32,
        status: u32,
    },
    Ping {
        id: u32,
    },
    GoAway,
    Headers {
        stream: u32,
        fin: bool,
        block: Bytes,
    },
    /// SETTINGS, `WINDOW_UPDATE` and what we do not know: no meaning here.
    Ignored,
}

/// Takes one frame off `buffer`; `None` when more bytes are needed.
pub(crate) fn parse(buffer: &mut BytesMut) -> Result<Option<Frame>, String> {
    let Some(head) = buffer.first_chunk::<8>() else { return Ok(None) };
    let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    let flags = head[4];
    let length = usize::from(head[5]) << 16 | usize::from(head[6]) << 8 | usize::from(head[7]);
    if length > FRAME_BYTES_MAX {
        return Err(format!("a frame of {length} bytes is too large"));
    }
    if buffer.len() < 8 + length {
        return Ok(None);
    }
    buffer.advance(8);
    let mut body = buffer.split_to(length).freeze();
    let fin = flags & FIN != 0;
    if first & 0x8000_0000 == 0 {
        return Ok(Some(Frame::Data { stream: first, fin, bytes: body }));
    }
    let version = u16::try_from((first >> 16) & 0x7fff).unwrap_or(0);
    if version != VERSION {
        return Err(format!("SPDY version {version} is not supported"));
    }
    let short = || "a frame is too short".to_owned();
    let mut number = |mask: u32| -> Result<u32, String> {
        if body.len() < 4 { Err(short()) } else { Ok(body.get_u32() & mask) }
    };
    Ok(Some(match first & 0xffff {
        1 => {
            let stream = number(ID)?;
            number(ID)?;
            if body.len() < 2 {
                return Err(short());
            }
            body.advance(2);
            Frame::SynStream { stream, fin, block: body }
        }
        2 => {
            let stream = number(ID)?;
            Frame::SynReply { stream, fin, block: body }
        }
        3 => Frame::Reset { stream: number(ID)?, status: number(u32::MAX)? },
        6 => Frame::Ping { id: number(u32::MAX)? },
        7 => Frame::GoAway,
        8 => {
            let stream = number(ID)?;
            Frame::Headers { stream, fin, block: body }
        }
        _ => Frame::Ignored,
    }))
}

fn head(out: &mut BytesMut, first: u32, flags: u8, length: usize) {
    out.put_u32(first);
    out.put_u32(u32::from(flags) << 24 | u32::try_from(length).unwrap_or(0) & 0x00ff_ffff);
}

fn control(kind: u32) -> u32 {
    0x8000_0000 | u32::from(VERSION) << 16 | kind
}

/// Appends a frame.
pub(crate) fn write(frame: &Frame, out: &mut BytesMut) {
    let flag = |fin: &bool| if *fin { FIN } else { 0 };
    match frame {
        Frame::Data { stream, fin, bytes } => {
            head(out, *stream, flag(fin), bytes.len());
            out.put_slice(bytes);
        }
        Frame::SynStream { stream, fin, block } => {
            head(out, control(1), flag(fin), block.len() + 10);
            out.put_u32(*stream);
            out.put_u32(0);
            out.put_u16(0);
            out.put_slice(block);
        }
        Frame::SynReply { stream, fin, block } => {
            head(out, control(2), flag(fin), block.len() + 4);
            out.put_u32(*stream);
            out.put_slice(block);
        }
        Frame::Reset { stream, status } => {
            head(out, control(3), 0, 8);
            out.put_u32(*stream);
            out.put_u32(*status);
        }
        Frame::Ping { id } => {
            head(out, control(6), 0, 4);
            out.put_u32(*id);
        }
        Frame::GoAway => {
            head(out, control(7), 0, 8);
            out.put_u64(0);
        }
        Frame::Headers { stream, fin, block } => {
            head(out, control(8), flag(fin), block.len() + 4);
            out.put_u32(*stream);
            out.put_slice(block);
        }
        Frame::Ignored => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_a_round_trip_byte_by_byte() {
        let bytes = Bytes::from_static(b"abc");
        let frames = [
            Frame::SynStream { stream: 1, fin: false, block: bytes.clone() },
            Frame::SynReply { stream: 1, fin: true, block: bytes.clone() },
            Frame::Data { stream: 3, fin: true, bytes: bytes.clone() },
            Frame::Reset { stream: 5, status: 2 },
            Frame::Ping { id: 7 },
            Frame::GoAway,
            Frame::Headers { stream: 9, fin: false, block: bytes },
        ];
        let mut out = BytesMut::new();
        for frame in &frames {
            write(frame, &mut out);
        }
        let (mut buffer, mut seen) = (BytesMut::new(), Vec::new());
        for byte in out {
            buffer.put_u8(byte);
            seen.extend(parse(&mut buffer).unwrap());
        }
        assert_eq!(seen, frames);
    }

    #[test]
    fn bad_frames_are_errors() {
        let mut large = BytesMut::from(&[0, 0, 0, 1, 0, 0xff, 0xff, 0xff][..]);
        assert!(parse(&mut large).is_err());
        let mut version = BytesMut::from(&[0x80, 2, 0, 1, 0, 0, 0, 0][..]);
        assert!(parse(&mut version).is_err());
        let mut short = BytesMut::from(&[0x80, 3, 0, 1, 0, 0, 0, 1, 0][..]);
        assert!(parse(&mut short).is_err());
    }
}
