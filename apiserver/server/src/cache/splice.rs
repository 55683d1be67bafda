//! Writes `metadata.resourceVersion` into the protobuf bytes of an object without decoding it. Pure and total.
//!
//! Objects are stored without a resource version, because it is only known once they are stored. Every Kubernetes object
//! has its ObjectMeta in field 1, and the resource version in field 6 of that.

use std::ops::Range;

use mainstay_store::Revision;

const METADATA_TAG: u64 = 1 << 3 | 2;
const RESOURCE_VERSION_FIELD: u64 = 6;
const RESOURCE_VERSION_TAG: u8 = 6 << 3 | 2;

/// Bytes that are not a protobuf message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a protobuf message at byte {at}")]
pub(crate) struct SpliceError {
    at: usize,
}

/// A copy of `message` whose metadata has `revision` as its resource version, in place of any it had.
///
/// # Errors
/// `message` is not a protobuf message.
pub(crate) fn with_resource_version(message: &[u8], revision: Revision) -> Result<Vec<u8>, SpliceError> {
    let text = revision.to_string();
    let (before, meta, after) = split_metadata(message)?;
    let mut kept = Vec::with_capacity(meta.len());
    for field in Fields::new(meta) {
        let (number, bytes) = field?;
        if number != RESOURCE_VERSION_FIELD {
            kept.extend_from_slice(bytes);
        }
    }
    let meta_len = kept.len() + 2 + text.len();
    let total = before.len() + 1 + varint_len(meta_len) + meta_len + after.len();
    let mut out = Vec::with_capacity(total);
    out.extend_from_slice(before);
    out.push(METADATA_TAG as u8);
    put_varint(&mut out, meta_len as u64);
    out.extend_from_slice(&kept);
    out.push(RESOURCE_VERSION_TAG);
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(after);
    Ok(out)
}

/// A message that has nothing but the metadata of `message`: a `PartialObjectMetadata`.
///
/// # Errors
/// `message` is not a protobuf message.
pub(crate) fn metadata_only(message: &[u8]) -> Result<Vec<u8>, SpliceError> {
    let (_before, meta, _after) = split_metadata(message)?;
    let mut out = Vec::with_capacity(meta.len() + 6);
    out.push(METADATA_TAG as u8);
    put_varint(&mut out, meta.len() as u64);
    out.extend_from_slice(meta);
    Ok(out)
}

/// Where the field sets of `metadata.managedFields` stand, in order; none where the message cannot be read.
pub(crate) fn field_sets(message: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    // ObjectMeta = 1, its managedFields = 17, their fieldsV1 = 7, its raw = 1.
    descend(message, 0, &[METADATA_TAG, 17 << 3 | 2, 7 << 3 | 2, 1 << 3 | 2], &mut found);
    found
}

/// Adds the places of all contents that the path of tags leads to.
fn descend(message: &[u8], start: usize, path: &[u64], found: &mut Vec<Range<usize>>) {
    let Some((tag, deeper)) = path.split_first() else {
        found.push(start..start + message.len());
        return;
    };
    let mut at = start;
    for field in Fields::new(message) {
        let Ok((_number, bytes)) = field else { return };
        if let Some((read, tag_len)) = varint(bytes)
            && read == *tag
            && let Some((_len, len_len)) = bytes.get(tag_len..).and_then(varint)
            && let Some(content) = bytes.get(tag_len + len_len..)
        {
            descend(content, at + tag_len + len_len, deeper, found);
        }
        at += bytes.len();
    }
}

/// What is before, in and after the metadata of a message.
type Split<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// The bytes before the first metadata field, its content, and the bytes after it.
fn split_metadata(message: &[u8]) -> Result<Split<'_>, SpliceError> {
    let mut at = 0;
    for field in Fields::new(message) {
        let (_number, bytes) = field?;
        let end = at + bytes.len();
        if let Some((METADATA_TAG, tag_len)) = varint(bytes)
            && let Some((_len, len_len)) = bytes.get(tag_len..).and_then(varint)
        {
            let content = bytes.get(tag_len + len_len..).ok_or(SpliceError { at })?;
            let (before, after) = (message.get(..at), message.get(end..));
            return before.zip(after).map(|(b, a)| (b, content, a)).ok_or(SpliceError { at });
        }
        at = end;
    }
    Ok((&[], &[], message))
}

/// Top-level fields of a message, as (number, bytes with tag).
struct Fields<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    fn new(message: &'a [u8]) -> Self {
        Self { rest: message, at: 0 }
    }

    fn take(&mut self) -> Option<(u64, &'a [u8])> {
        let (tag, tag_len) = varint(self.rest)?;
        let body = self.rest.get(tag_len..)?;
        let body_len = match tag & 7 {
            0 => varint(body)?.1,
            1 => 8,
            2 => {
                let (len, len_len) = varint(body)?;
                usize::try_from(len).ok()?.checked_add(len_len)?
            }
            5 => 4,
            _ => return None,
        };
        let total = tag_len.checked_add(body_len)?;
        let field = self.rest.get(..total)?;
        self.rest = self.rest.get(total..)?;
        self.at += total;
        Some((tag >> 3, field))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, &'a [u8]), SpliceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.take();
        if field.is_none() {
            self.rest = &[];
        }
        Some(field.ok_or(SpliceError { at: self.at }))
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at as u32).min(63);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

/// Bytes a varint of `value` takes.
pub(crate) fn varint_len(value: usize) -> usize {
    (usize::BITS - (value | 1).leading_zeros()).div_ceil(7) as usize
}

/// Appends a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// metadata {name: "a", resourceVersion: <rv>}, then field 2 = "xy".
    fn message(rv: Option<&str>) -> Vec<u8> {
        let mut meta = vec![0x0a, 1, b'a'];
        if let Some(rv) = rv {
            meta.extend([0x32, rv.len() as u8]);
            meta.extend(rv.as_bytes());
        }
        let mut out = vec![0x0a, meta.len() as u8];
        out.extend(meta);
        out.extend([0x12, 2, b'x', b'y']);
        out
    }

    #[test]
    fn a_resource_version_is_put_in_or_replaced() {
        for old in [None, Some("3"), Some("123456")] {
            assert_eq!(with_resource_version(&message(old), Revision(77)).unwrap(), message(Some("77")));
        }
    }

    #[test]
    fn metadata_is_made_when_it_is_missing() {
        let out = with_resource_version(&[0x12, 1, b'x'], Revision(5)).unwrap();
        assert_eq!(&out[..], [0x0a, 3, 0x32, 1, b'5', 0x12, 1, b'x']);
    }

    #[test]
    fn damaged_bytes_are_an_error() {
        for bad in [
            &[0x0a, 200][..],
            &[0xff; 11],
            &[0x0b, 1],
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        ] {
            assert!(with_resource_version(bad, Revision(1)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn varints_are_as_long_as_predicted() {
        for value in [0, 1, 127, 128, 16383, 16384, usize::MAX >> 1] {
            let mut out = Vec::new();
            put_varint(&mut out, value as u64);
            assert_eq!(out.len(), varint_len(value), "{value}");
            assert_eq!(varint(&out), Some((value as u64, out.len())));
        }
    }
}
