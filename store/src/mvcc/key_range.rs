//! A set of keys: one key, or all from a first key to an exclusive end.
use bytes::Bytes;

/// etcd's way of naming keys: no end is one key, the end `\0` is "to the last key".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyRange<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) end: Option<&'a [u8]>,
}

impl<'a> KeyRange<'a> {
    pub(crate) fn new(key: &'a [u8], end: Option<&'a Bytes>) -> Self {
        Self { key, end: end.map(|end| &end[..]) }
    }

    pub(crate) fn is_one_key(&self) -> bool {
        self.end.is_none()
    }

    /// Whether the range goes on to the last key.
    pub(crate) fn is_open_ended(&self) -> bool {
        self.end == Some(b"\0")
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        match self.end {
            None => key == self.key,
            Some(b"\0") => key >= self.key,
            Some(end) => key >= self.key && key < end,
        }
    }

    /// Whether no key can be inside: the end is not after the start.
    pub(crate) fn is_empty(&self) -> bool {
        self.end.is_some_and(|end| end != b"\0" && end <= self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_of_one_zero_byte_means_the_last_key() {
        let range = KeyRange { key: b"b", end: Some(b"\0") };
        assert!(range.contains(b"b") && range.contains(b"zzz") && !range.contains(b"a"));
        assert!(!range.is_empty());
    }

    #[test]
    fn an_end_before_the_start_is_empty() {
        assert!(KeyRange { key: b"b", end: Some(b"a") }.is_empty());
        assert!(KeyRange { key: b"b", end: Some(b"b") }.is_empty());
    }
}
