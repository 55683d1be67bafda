//! Reads a bbolt file that anybody may have written. Every number in it is checked before it is believed: page numbers, lengths, depths, and
//! that no page is visited twice. One page is in memory at a time.
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt as _;

use sha2::{Digest as _, Sha256};

use super::page::{
    BRANCH, BUCKET_BYTES, BUCKET_ELEMENT, ELEMENT_BYTES, LEAF, META_BYTES, Meta, PAGE_HEADER_BYTES,
    PageHeader, u32_at, u64_at,
};

/// Trees are not deeper: with two branches a page that is more pages than a file can have.
const DEPTH_MAX: usize = 48;
/// One value with its page is not larger; etcd's own limit for a request is a hundredth of it.
const LEAF_BYTES_MAX: u64 = 256 << 20;
/// Branches hold short keys.
const BRANCH_BYTES_MAX: u64 = 1 << 20;
const PAGE_BYTES: std::ops::RangeInclusive<u32> = 512..=65536;
const SUM_BYTES: u64 = 32;

/// Why a file is no database of etcd's.
#[derive(Debug, thiserror::Error)]
pub(in crate::snapshot) enum BoltError {
    #[error("reading the database")]
    Io(#[source] std::io::Error),
    #[error("neither of its two meta pages is sound")]
    Meta,
    #[error("page {page}: {what}")]
    Page { page: u64, what: &'static str },
    #[error("it has no checksum at its end")]
    NoSum,
    #[error("its SHA-256 does not match")]
    Sum,
}

/// An open file.
#[derive(Debug)]
pub(in crate::snapshot) struct BoltFile<'f> {
    file: &'f File,
    page_bytes: u64,
    root: u64,
    /// The pages that the file has.
    pages: u64,
}

/// Receives keys, values and whether these are buckets; false ends the walk.
type EntryVisitor<'v> = dyn FnMut(&[u8], &[u8], bool) -> bool + 'v;

/// Where a walk stands in the tree: bounds what a file with circles can cost.
struct Walk<'v> {
    pages_left: u64,
    visit: &'v mut EntryVisitor<'v>,
}

impl<'f> BoltFile<'f> {
    /// Opens a file and reads its meta pages.
    pub(in crate::snapshot) fn open(file: &'f File) -> Result<Self, BoltError> {
        let file_bytes = file.metadata().map_err(BoltError::Io)?.len();
        let first = meta_at(file, 0)?;
        // The second lies one page further; if the first is broken, the page size has to be guessed.
        let sizes: Vec<u64> = match first {
            Some(meta) => vec![meta.page_bytes.into()],
            None => vec![4096, 16384, 65536, 8192, 32768],
        };
        let mut newest = first;
        for bytes in sizes {
            let Some(second) = meta_at(file, bytes)? else { continue };
            if newest.is_none_or(|newest| second.transaction > newest.transaction) {
                newest = Some(second);
            }
            break;
        }
        let meta = newest.filter(|meta| PAGE_BYTES.contains(&meta.page_bytes)).ok_or(BoltError::Meta)?;
        let page_bytes = u64::from(meta.page_bytes);
        let pages = (file_bytes / page_bytes).min(meta.end);
        Ok(Self { file, page_bytes, root: meta.root, pages })
    }

    /// Visits each bucket at the top, by name; `true` goes on.
    pub(in crate::snapshot) fn buckets(&self) -> Result<Vec<(Vec<u8>, Bucket)>, BoltError> {
        let mut buckets = Vec::new();
        let mut problem = None;
        let mut walk = Walk {
            pages_left: self.pages,
            visit: &mut |name, value, is_bucket| {
                if is_bucket && problem.is_none() {
                    match Bucket::decode(value) {
                        Some(bucket) if buckets.len() < 1024 => buckets.push((name.to_vec(), bucket)),
                        _ => problem = Some(BoltError::Page { page: self.root, what: "a bucket is damaged" }),
                    }
                }
                true
            },
        };
        self.node(self.root, 0, &mut walk)?;
        problem.map_or(Ok(buckets), Err)
    }

    /// The size of all its pages.
    pub(in crate::snapshot) fn size_bytes(&self) -> u64 {
        self.pages * self.page_bytes
    }

    /// Visits the entries of a bucket in their order, until `visit` gives false. Nested buckets are not entered.
    pub(in crate::snapshot) fn each(
        &self,
        bucket: &Bucket,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), BoltError> {
        let mut walk = Walk {
            pages_left: self.pages,
            visit: &mut |key, value, is_bucket| is_bucket || visit(key, value),
        };
        match bucket {
            Bucket::Root(root) => self.node(*root, 0, &mut walk).map(drop),
            Bucket::Inline(page) => {
                let header = PageHeader::decode(page).filter(|header| header.flags & LEAF != 0);
                let header =
                    header.ok_or(BoltError::Page { page: 0, what: "an inline bucket is no leaf" })?;
                leaf(page, header, &mut walk).map(drop)
            }
        }
    }

    /// False once the visitor has had enough.
    fn node(&self, page: u64, depth: usize, walk: &mut Walk<'_>) -> Result<bool, BoltError> {
        let wrong = |what| BoltError::Page { page, what };
        if depth > DEPTH_MAX {
            return Err(wrong("the tree is too deep"));
        }
        walk.pages_left =
            walk.pages_left.checked_sub(1).ok_or_else(|| wrong("more pages than the file has"))?;
        let (bytes, header) = self.read(page)?;
        if header.flags & LEAF != 0 {
            return leaf(&bytes, header, walk);
        }
        if header.flags & BRANCH == 0 {
            return Err(wrong("it is neither branch nor leaf"));
        }
        for number in 0..usize::from(header.count) {
            let at = PAGE_HEADER_BYTES + number * ELEMENT_BYTES;
            let child = u64_at(&bytes, at + 8).ok_or_else(|| wrong("an element is outside"))?;
            if !self.node(child, depth + 1, walk)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A page with those that it overflows into.
    fn read(&self, page: u64) -> Result<(Vec<u8>, PageHeader), BoltError> {
        let wrong = |what| BoltError::Page { page, what };
        let mut head = [0; PAGE_HEADER_BYTES];
        if page < 2 || page >= self.pages {
            return Err(wrong("it is outside of the file"));
        }
        let offset = page * self.page_bytes;
        self.file.read_exact_at(&mut head, offset).map_err(BoltError::Io)?;
        let header = PageHeader::decode(&head).ok_or_else(|| wrong("it has no header"))?;
        if header.id != page {
            return Err(wrong("it is another page"));
        }
        let pages = u64::from(header.overflow) + 1;
        let bytes = pages * self.page_bytes;
        // Branches of a whole path are in memory at once.
        let max = if header.flags & LEAF != 0 { LEAF_BYTES_MAX } else { BRANCH_BYTES_MAX };
        if page + pages > self.pages || bytes > max {
            return Err(wrong("it is larger than the file, or than any page should be"));
        }
        let mut whole = vec![0; bytes as usize];
        self.file.read_exact_at(&mut whole, offset).map_err(BoltError::Io)?;
        Ok((whole, header))
    }
}

/// Where a bucket's entries are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::snapshot) enum Bucket {
    /// A tree of pages.
    Root(u64),
    /// A small one, in a page within its element.
    Inline(Vec<u8>),
}

impl Bucket {
    fn decode(value: &[u8]) -> Option<Self> {
        match u64_at(value, 0)? {
            0 => Some(Self::Inline(value.get(BUCKET_BYTES..)?.to_vec())),
            root => Some(Self::Root(root)),
        }
    }
}

fn leaf(bytes: &[u8], header: PageHeader, walk: &mut Walk<'_>) -> Result<bool, BoltError> {
    let wrong = || BoltError::Page { page: header.id, what: "an element is outside" };
    for number in 0..usize::from(header.count) {
        let at = PAGE_HEADER_BYTES + number * ELEMENT_BYTES;
        let mut fields = [0; 4];
        for (field, number) in fields.iter_mut().zip(0..) {
            *field = u32_at(bytes, at + 4 * number).ok_or_else(wrong)?;
        }
        let [flags, position, key_bytes, value_bytes] = fields;
        let key_at = at + position as usize;
        let value_at = key_at + key_bytes as usize;
        let key = bytes.get(key_at..value_at).ok_or_else(wrong)?;
        let value = bytes.get(value_at..value_at + value_bytes as usize).ok_or_else(wrong)?;
        if !(walk.visit)(key, value, flags & BUCKET_ELEMENT != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn meta_at(file: &File, offset: u64) -> Result<Option<Meta>, BoltError> {
    let mut bytes = [0; PAGE_HEADER_BYTES + META_BYTES];
    match file.read_exact_at(&mut bytes, offset) {
        Ok(()) => Ok(bytes.get(PAGE_HEADER_BYTES..).and_then(Meta::decode)),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(BoltError::Io(error)),
    }
}

/// Checks the SHA-256 that `etcdctl snapshot save` appends. Reads the whole file.
pub(in crate::snapshot) fn check_sum(file: &File) -> Result<(), BoltError> {
    let bytes = file.metadata().map_err(BoltError::Io)?.len();
    // Pages are multiples of 512 bytes: what is left over is the sum.
    if bytes % 512 != SUM_BYTES {
        return Err(BoltError::NoSum);
    }
    let mut digest = Sha256::new();
    let mut reader = ReadAt { file, offset: 0, end: bytes - SUM_BYTES };
    let mut piece = vec![0; 1 << 20];
    loop {
        let taken = reader.read(&mut piece).map_err(BoltError::Io)?;
        if taken == 0 {
            break;
        }
        digest.update(piece.get(..taken).unwrap_or_default());
    }
    let mut expected = [0; SUM_BYTES as usize];
    file.read_exact_at(&mut expected, bytes - SUM_BYTES).map_err(BoltError::Io)?;
    let found: [u8; SUM_BYTES as usize] = digest.finalize().into();
    if found == expected { Ok(()) } else { Err(BoltError::Sum) }
}

/// A part of a file, from where it stands.
struct ReadAt<'f> {
    file: &'f File,
    offset: u64,
    end: u64,
}

impl Read for ReadAt<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX).min(buffer.len());
        let Some(part) = buffer.get_mut(..left).filter(|part| !part.is_empty()) else { return Ok(0) };
        let taken = self.file.read_at(part, self.offset)?;
        self.offset += taken as u64;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::super::BoltWriter;
    use super::*;

    type Contents = BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Vec<u8>>>;

    fn write(contents: &Contents) -> File {
        let mut file = tempfile::tempfile().unwrap();
        let mut writer = BoltWriter::new(&mut file).unwrap();
        for (name, entries) in contents {
            writer.bucket(name).unwrap();
            for (key, value) in entries {
                writer.entry(key, value).unwrap();
            }
        }
        writer.finish().unwrap();
        file
    }

    fn read(file: &File) -> Result<Contents, BoltError> {
        let bolt = BoltFile::open(file)?;
        let mut contents = Contents::new();
        for (name, bucket) in bolt.buckets()? {
            let entries = contents.entry(name).or_default();
            bolt.each(&bucket, &mut |key, value| {
                entries.insert(key.to_vec(), value.to_vec());
                true
            })?;
        }
        Ok(contents)
    }

    fn contents() -> impl Strategy<Value = Contents> {
        let value = prop_oneof![
            8 => proptest::collection::vec(any::<u8>(), 0..60),
            1 => (0..9000_usize).prop_map(|bytes| vec![7; bytes]),
        ];
        let entries =
            proptest::collection::btree_map(proptest::collection::vec(any::<u8>(), 1..20), value, 0..300);
        proptest::collection::btree_map(proptest::collection::vec(any::<u8>(), 1..9), entries, 0..5)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn what_was_written_is_read(contents in contents()) {
            prop_assert_eq!(read(&write(&contents)).unwrap(), contents);
        }

        #[test]
        fn a_file_with_changed_bytes_is_read_or_refused(
            contents in contents(),
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..40),
            cut in proptest::option::of(any::<proptest::sample::Index>()),
        ) {
            let file = write(&contents);
            let length = file.metadata().unwrap().len();
            for (at, byte) in changes {
                // Most of the damage where the numbers are: at the start of pages.
                let at = at.index(length as usize) as u64;
                let at = if byte % 3 == 0 { at } else { at / 4096 * 4096 + at % 64 };
                file.write_at(&[byte], at.min(length - 1)).unwrap();
            }
            if let Some(cut) = cut {
                file.set_len(cut.index(length as usize) as u64).unwrap();
            }
            let _ignored = read(&file);
        }

        #[test]
        fn any_bytes_after_a_sound_meta_page_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..9000)) {
            let mut file = write(&Contents::new());
            std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(8192)).unwrap();
            file.write_all(&bytes).unwrap();
            let _ignored = read(&file);
        }
    }

    #[test]
    fn a_page_that_leads_to_itself_ends_the_walk() {
        let file = write(&Contents::from([(b"b".to_vec(), BTreeMap::from([(vec![1], vec![2])]))]));
        let root = BoltFile::open(&file).unwrap().root;
        let mut page = Vec::new();
        PageHeader { id: root, flags: BRANCH, count: 2, overflow: 0 }.encode(&mut page);
        for _ in 0..2 {
            page.extend_from_slice(&[0; 8]);
            page.extend_from_slice(&root.to_le_bytes());
        }
        file.write_at(&page, root * 4096).unwrap();
        assert!(matches!(read(&file), Err(BoltError::Page { .. })));
    }

    #[test]
    fn the_sum_at_the_end_is_checked() {
        let mut file = write(&Contents::new());
        assert!(matches!(check_sum(&file), Err(BoltError::NoSum)));
        let mut whole = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut whole, 0).unwrap();
        let sum: [u8; 32] = Sha256::digest(&whole).into();
        std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).unwrap();
        file.write_all(&sum).unwrap();
        check_sum(&file).unwrap();
        file.write_at(&[9], 5000).unwrap();
        assert!(matches!(check_sum(&file), Err(BoltError::Sum)));
    }
}
