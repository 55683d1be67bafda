//! gRPC's framing: a flag, a length, a message.
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Adds a message to the body of a request.
pub(super) fn put_frame(message: &[u8], out: &mut BytesMut) {
    out.put_u8(0);
    out.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    out.put_slice(message);
}

/// Takes messages off the body of a response, as its parts come.
#[derive(Debug, Default)]
pub(super) struct FrameReader {
    buffer: BytesMut,
}

impl FrameReader {
    pub(super) fn push(&mut self, part: &[u8]) {
        self.buffer.put_slice(part);
    }

    /// The next whole message.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        let length =
            self.buffer.get(1..5)?.first_chunk().map(|length| u32::from_be_bytes(*length) as usize)?;
        if self.buffer.len() - 5 < length {
            return None;
        }
        self.buffer.advance(5);
        Some(self.buffer.split_to(length).freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_whole_however_they_come_in() {
        let mut body = BytesMut::new();
        for message in ["", "one", "another"] {
            put_frame(message.as_bytes(), &mut body);
        }
        let mut reader = FrameReader::default();
        let mut read = Vec::new();
        for byte in &body {
            reader.push(&[*byte]);
            read.extend(reader.next());
        }
        assert_eq!(read, ["", "one", "another"]);
    }
}
