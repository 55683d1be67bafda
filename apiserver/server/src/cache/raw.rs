//! The bytes of one cached object. What equal objects of a cluster have in common, the field sets of their writers, is
//! kept once for all of them ([`super::FieldSets`]) and put in when the bytes are wanted.

use std::borrow::Cow;
use std::sync::Arc;

/// A message, in one piece or with shared parts. Equality is that of the whole.
#[derive(Clone)]
pub struct Raw {
    own: Box<[u8]>,
    /// In the order of their places.
    shared: Box<[Part]>,
}

/// Bytes that stand at a place of `own`, and belong to other objects too.
#[derive(Clone)]
struct Part {
    at: usize,
    bytes: Arc<[u8]>,
}

impl Raw {
    /// These bytes, shared with nobody.
    pub(crate) fn whole(bytes: impl Into<Box<[u8]>>) -> Self {
        Self { own: bytes.into(), shared: Box::default() }
    }

    /// The same bytes, of which the parts that start at these places are shared. Places are in order and do not overlap;
    /// one that is not there is left as it is.
    pub(super) fn sharing(&self, parts: Vec<(usize, Arc<[u8]>)>) -> Self {
        let whole = self.bytes();
        let saved: usize = parts.iter().map(|(_, bytes)| bytes.len()).sum();
        let mut own = Vec::with_capacity(whole.len().saturating_sub(saved));
        let mut shared = Vec::with_capacity(parts.len());
        let mut done = 0;
        for (start, bytes) in parts {
            let end = start.saturating_add(bytes.len());
            if let (Some(before), Some(part)) = (whole.get(done..start), whole.get(start..end))
                && *part == *bytes
            {
                own.extend_from_slice(before);
                shared.push(Part { at: own.len(), bytes });
                done = end;
            }
        }
        own.extend_from_slice(whole.get(done..).unwrap_or_default());
        Self { own: own.into(), shared: shared.into() }
    }

    /// How long the whole is.
    pub fn len(&self) -> usize {
        self.own.len() + self.shared.iter().map(|part| part.bytes.len()).sum::<usize>()
    }

    /// True without bytes: an object without fields.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes of the whole nobody else has.
    pub fn own_len(&self) -> usize {
        self.own.len()
    }

    /// The whole in one piece; copied only where something is shared.
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        if self.shared.is_empty() {
            return Cow::Borrowed(&self.own);
        }
        let mut out = Vec::with_capacity(self.len());
        self.append_to(&mut out);
        Cow::Owned(out)
    }

    /// Appends the whole.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        self.pieces().for_each(|piece| out.extend_from_slice(piece));
    }

    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let ends = self.shared.iter().map(|part| part.at).chain([self.own.len()]);
        let starts = std::iter::once(0).chain(self.shared.iter().map(|part| part.at));
        let own = starts.zip(ends).map(|(start, end)| self.own.get(start..end).unwrap_or_default());
        let shared = self.shared.iter().map(|part| &*part.bytes).chain([&[][..]]);
        own.zip(shared).flat_map(|(own, shared)| [own, shared])
    }
}

impl PartialEq for Raw {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.bytes() == other.bytes()
    }
}

impl Eq for Raw {}
