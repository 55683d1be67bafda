//! Header blocks: name-value pairs, compressed with zlib and SPDY/3's dictionary over the connection's whole life.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use zlib_rs::{Deflate, DeflateFlush, Inflate, InflateError, InflateFlush};

/// A block may not hold more than this once decompressed.
const BLOCK_BYTES_MAX: usize = 64 << 10;
const PAIRS_MAX: u32 = 128;

/// Headers by lower-case name.
pub(crate) type Headers = BTreeMap<String, String>;

/// The words of the dictionary that come with a length before them.
const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language \
accept-ranges age allow authorization cache-control connection content-base content-encoding content-language \
content-length content-location content-md5 content-range content-type date etag expect expires from host if-match \
if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma \
proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade \
user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie \
keep-alive origin";
const TAIL: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden\
404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable\
Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT\
chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,\
publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

/// SPDY/3's dictionary.
fn dictionary() -> &'static [u8] {
    static DICTIONARY: OnceLock<Vec<u8>> = OnceLock::new();
    DICTIONARY.get_or_init(|| {
        let mut bytes = Vec::new();
        for word in WORDS.split(' ') {
            let word = word.replace('_', " ");
            bytes.extend_from_slice(&u32::try_from(word.len()).unwrap_or(0).to_be_bytes());
            bytes.extend_from_slice(word.as_bytes());
        }
        bytes.extend_from_slice(TAIL.as_bytes());
        bytes
    })
}

/// Reads the peer's header blocks.
pub(crate) struct HeaderReader {
    inflate: Inflate,
}

impl HeaderReader {
    pub(crate) fn new() -> Self {
        Self { inflate: Inflate::new(true, 15) }
    }

    /// Decompresses and parses one block.
    pub(crate) fn read(&mut self, block: &[u8]) -> Result<Headers, String> {
        let plain = self.decompress(block)?;
        parse(&plain).ok_or_else(|| "a header block is malformed".to_owned())
    }

    fn decompress(&mut self, block: &[u8]) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        let mut rest = block;
        let mut buffer = [0; 4096];
        loop {
            let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
            let result = self.inflate.decompress(rest, &mut buffer, InflateFlush::SyncFlush);
            let taken = usize::try_from(self.inflate.total_in() - before_in).unwrap_or(rest.len());
            let made = usize::try_from(self.inflate.total_out() - before_out).unwrap_or(0);
            rest = rest.get(taken..).unwrap_or_default();
            out.extend_from_slice(buffer.get(..made).unwrap_or_default());
            if out.len() > BLOCK_BYTES_MAX {
                return Err("a header block is too large".to_owned());
            }
            match result {
                Err(InflateError::NeedDict { .. }) => {
                    self.inflate
                        .set_dictionary(dictionary())
                        .map_err(|e| format!("a header block asks for another dictionary: {}", e.as_str()))?;
                }
                Err(error) => return Err(format!("decompressing a header block: {}", error.as_str())),
                Ok(_) if rest.is_empty() && made < buffer.len() => return Ok(out),
                Ok(_) if taken == 0 && made == 0 => return Err("a header block does not end".to_owned()),
                Ok(_) => {}
            }
        }
    }
}

fn parse(mut bytes: &[u8]) -> Option<Headers> {
    let count = number(&mut bytes)?;
    if count > PAIRS_MAX {
        return None;
    }
    let mut headers = Headers::new();
    for _ in 0..count {
        let name = text(&mut bytes)?;
        let value = text(&mut bytes)?;
        headers.insert(name.to_lowercase(), value);
    }
    Some(headers)
}

fn number(bytes: &mut &[u8]) -> Option<u32> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(u32::from_be_bytes(*head))
}

fn text(bytes: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(number(bytes)?).ok()?;
    let (head, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    String::from_utf8(head.to_vec()).ok()
}

/// Writes header blocks.
pub(crate) struct HeaderWriter {
    deflate: Deflate,
}

impl HeaderWriter {
    pub(crate) fn new() -> Result<Self, String> {
        let mut deflate = Deflate::new(6, true, 15);
        deflate.set_dictionary(dictionary()).map_err(|e| e.as_str().to_owned())?;
        Ok(Self { deflate })
    }

    /// Encodes and compresses one block.
    pub(crate) fn write(&mut self, headers: &Headers) -> Result<Vec<u8>, String> {
        let mut plain = u32::try_from(headers.len()).unwrap_or(0).to_be_bytes().to_vec();
        for part in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend_from_slice(&u32::try_from(part.len()).unwrap_or(0).to_be_bytes());
            plain.extend_from_slice(part.as_bytes());
        }
        let mut out = Vec::new();
        let mut rest = plain.as_slice();
        let mut buffer = [0; 4096];
        loop {
            let (before_in, before_out) = (self.deflate.total_in(), self.deflate.total_out());
            self.deflate
                .compress(rest, &mut buffer, DeflateFlush::SyncFlush)
                .map_err(|e| format!("compressing a header block: {}", e.as_str()))?;
            let taken = usize::try_from(self.deflate.total_in() - before_in).unwrap_or(rest.len());
            let made = usize::try_from(self.deflate.total_out() - before_out).unwrap_or(0);
            rest = rest.get(taken..).unwrap_or_default();
            out.extend_from_slice(buffer.get(..made).unwrap_or_default());
            if rest.is_empty() && made < buffer.len() {
                return Ok(out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checksum that SPDY/3 peers know the dictionary by.
    #[test]
    fn the_dictionary_is_the_one_of_the_draft() {
        let (mut a, mut b) = (1_u32, 0_u32);
        for byte in dictionary() {
            a = (a + u32::from(*byte)) % 65521;
            b = (b + a) % 65521;
        }
        assert_eq!((b << 16) | a, 0xe3c6_a7c2);
        assert_eq!(dictionary().len(), 1423);
    }

    #[test]
    fn blocks_share_one_compression_state() {
        let (mut writer, mut reader) = (HeaderWriter::new().unwrap(), HeaderReader::new());
        for id in 0..3 {
            let headers: Headers =
                [("streamtype".to_owned(), "data".to_owned()), ("requestid".to_owned(), id.to_string())]
                    .into();
            assert_eq!(reader.read(&writer.write(&headers).unwrap()).unwrap(), headers);
        }
        assert_eq!(reader.read(&writer.write(&Headers::new()).unwrap()).unwrap(), Headers::new());
    }

    #[test]
    fn broken_blocks_are_errors() {
        assert!(HeaderReader::new().read(b"not zlib").is_err());
        assert!(parse(&[0, 0, 0, 1, 0, 0, 0, 9, b'x']).is_none());
        assert!(parse(&[0xff; 4]).is_none());
    }
}
