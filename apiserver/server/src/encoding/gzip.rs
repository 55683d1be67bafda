//! gzip for large answers, as upstream does: from 128 KiB on, at the fastest level, when the client accepts it.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::Stream;

use crate::failure::Failure;

/// Answers shorter than this are not compressed.
pub(super) const THRESHOLD_BYTES: usize = 128 * 1024;

/// Whether the client accepts gzip.
pub fn gzip_wanted(headers: &http::HeaderMap) -> bool {
    headers
        .get_all(http::header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|clause| {
            let mut parts = clause.split(';').map(str::trim);
            parts.next() == Some("gzip")
                && !parts.any(|p| matches!(p.replace(' ', "").as_str(), "q=0" | "q=0.0"))
        })
}

/// Compresses bytes at hand.
pub(super) fn compress(bytes: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

/// Compresses a stream of chunks.
pub(super) struct Gzip<S> {
    source: S,
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl<S> Gzip<S> {
    pub(super) fn new(source: S) -> Self {
        Self { source, encoder: Some(GzEncoder::new(Vec::new(), Compression::fast())) }
    }
}

impl<S: Stream<Item = Result<Bytes, Failure>> + Unpin> Stream for Gzip<S> {
    type Item = Result<Bytes, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let failed = |error: std::io::Error| Failure::Encode { kind: "gzip", reason: error.to_string() };
        loop {
            if self.encoder.is_none() {
                return Poll::Ready(None);
            }
            match ready!(Pin::new(&mut self.source).poll_next(context)) {
                Some(Ok(chunk)) => {
                    let Some(encoder) = self.encoder.as_mut() else { return Poll::Ready(None) };
                    if let Err(error) = encoder.write_all(&chunk) {
                        self.encoder = None;
                        return Poll::Ready(Some(Err(failed(error))));
                    }
                    let out = std::mem::take(encoder.get_mut());
                    if !out.is_empty() {
                        return Poll::Ready(Some(Ok(Bytes::from(out))));
                    }
                }
                Some(Err(error)) => {
                    self.encoder = None;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    let rest = self.encoder.take().map(GzEncoder::finish);
                    return Poll::Ready(rest.map(|rest| rest.map(Bytes::from).map_err(failed)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_encoding_is_read_clause_by_clause() {
        let wanted = |value: &str| {
            let mut headers = http::HeaderMap::new();
            headers.insert(http::header::ACCEPT_ENCODING, value.parse().unwrap());
            gzip_wanted(&headers)
        };
        assert!(wanted("gzip") && wanted("br, gzip;q=0.5"));
        assert!(!wanted("identity") && !wanted("gzip;q=0") && !wanted("xgzip"));
    }
}
