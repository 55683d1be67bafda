//! One file of the dashboard, as `npm run build` wrote it down.

use std::io::Read as _;

use bytes::Bytes;
use flate2::read::GzDecoder;

/// A file in this binary.
#[derive(Debug)]
pub(super) struct File {
    /// Below `/ui/`.
    pub(super) path: &'static str,
    /// Its media type.
    pub(super) content_type: &'static str,
    /// Hexadecimal, over the content before compression.
    pub(super) sha256: &'static str,
    /// Whether `bytes` are compressed.
    pub(super) is_gzip: bool,
    /// The content.
    pub(super) bytes: &'static [u8],
}

impl File {
    /// Whether the name changes with the content: such a file never does.
    pub(super) fn is_immutable(&self) -> bool {
        self.path.starts_with("assets/")
    }

    /// The content without compression, for clients that take none.
    ///
    /// # Errors
    /// Bytes that are not gzip.
    pub(super) fn plain(&self) -> std::io::Result<Bytes> {
        if !self.is_gzip {
            return Ok(Bytes::from_static(self.bytes));
        }
        let mut plain = Vec::new();
        GzDecoder::new(self.bytes).read_to_end(&mut plain)?;
        Ok(Bytes::from(plain))
    }
}
