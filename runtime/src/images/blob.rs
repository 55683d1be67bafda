//! Reading streams of strangers: how many bytes, which digest, which compression.

use crate::failure::{Attempt, Failure, Result};
use mainstay_proto_wire::cri::Code;
use sha2::{Digest, Sha256};
use std::io::{BufRead, Read};

/// Digest of `bytes` in its written form.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    written(&Sha256::digest(bytes))
}

fn written(hash: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::from("sha256:");
    for byte in hash {
        // Writing to a String cannot fail.
        let _ok = write!(text, "{byte:02x}");
    }
    text
}

/// The hex part of a digest that was checked before.
pub(crate) fn hex(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap_or(digest)
}

/// `DataLoss` unless `found` is the digest that was asked for.
pub(crate) fn expect_digest(what: &str, wanted: &str, found: &str) -> Result<()> {
    if wanted == found {
        return Ok(());
    }
    Err(Failure::new(Code::DataLoss, format!("{what} has digest {found}, wanted {wanted}")))
}

/// Counts and hashes what passes, and stops at a limit.
pub(crate) struct Metered<R> {
    inner: R,
    hash: Sha256,
    bytes: u64,
    bytes_max: u64,
}

impl<R: Read> Metered<R> {
    pub(crate) fn new(inner: R, bytes_max: u64) -> Self {
        Self { inner, hash: Sha256::new(), bytes: 0, bytes_max }
    }

    /// Reads the rest and tells digest and length of everything.
    pub(crate) fn finish(mut self) -> std::io::Result<(String, u64)> {
        std::io::copy(&mut self, &mut std::io::sink())?;
        Ok((written(&self.hash.finalize()), self.bytes))
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes += count as u64;
        if self.bytes > self.bytes_max {
            return Err(std::io::Error::new(
                std::io::ErrorKind::FileTooLarge,
                format!("the content is larger than the limit of {} bytes", self.bytes_max),
            ));
        }
        self.hash.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// Undoes gzip or zstd, told by the first bytes; anything else passes unchanged. A zstd frame may not ask for a
/// window above 128 MiB.
pub(crate) fn decompressed<'a>(mut input: impl BufRead + 'a) -> Result<Box<dyn Read + 'a>> {
    let start = input.fill_buf().attempt("reading the first bytes")?;
    if start.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(flate2::bufread::MultiGzDecoder::new(input)));
    }
    if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(input).attempt("starting zstd")?;
        decoder.window_log_max(27).attempt("bounding zstd")?;
        return Ok(Box::new(decoder));
    }
    Ok(Box::new(input))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn metered_reader_stops_at_its_limit() {
        let mut meter = Metered::new(&b"12345678"[..], 7);
        assert!(std::io::copy(&mut meter, &mut std::io::sink()).is_err());
        let (digest, bytes) = Metered::new(&b"abc"[..], 7).finish().unwrap();
        assert_eq!(bytes, 3);
        assert_eq!(digest, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn compression_is_told_by_content() {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(b"hello").unwrap();
        let gz = gz.finish().unwrap();
        let zst = zstd::encode_all(&b"hello"[..], 1).unwrap();
        for input in [gz.as_slice(), &zst, b"hello"] {
            let mut text = String::new();
            decompressed(input).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "hello");
        }
    }
}
