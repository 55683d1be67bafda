//! How pages are laid out.
use std::fs::File;
use std::os::unix::fs::FileExt as _;

pub(super) const MAGIC: u32 = 0xED0C_DAED;
pub(super) const VERSION: u32 = 2;
pub(super) const PAGE_HEADER_BYTES: usize = 16;
pub(super) const ELEMENT_BYTES: usize = 16;
pub(super) const META_BYTES: usize = 64;
/// A bucket's value: root page u64, sequence u64.
pub(super) const BUCKET_BYTES: usize = 16;

pub(super) const BRANCH: u16 = 0x01;
pub(super) const LEAF: u16 = 0x02;
pub(super) const META: u16 = 0x04;
pub(super) const FREELIST: u16 = 0x10;
/// The flag of a leaf element whose value is a bucket.
pub(super) const BUCKET_ELEMENT: u32 = 0x01;

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A page's header.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageHeader {
    pub(super) id: u64,
    pub(super) flags: u16,
    pub(super) count: u16,
    /// The pages that follow and belong to this one.
    pub(super) overflow: u32,
}

impl PageHeader {
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            id: u64_at(bytes, 0)?,
            flags: u16_at(bytes, 8)?,
            count: u16_at(bytes, 10)?,
            overflow: u32_at(bytes, 12)?,
        })
    }

    pub(super) fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.to_le_bytes());
        out.extend_from_slice(&self.flags.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.overflow.to_le_bytes());
    }
}

/// A meta page, after its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) page_bytes: u32,
    pub(super) root: u64,
    pub(super) freelist: u64,
    /// The first page that was never used.
    pub(super) end: u64,
    pub(super) transaction: u64,
}

impl Meta {
    /// A meta page whose magic, version and checksum are right.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let sum = u64_at(bytes, 56)?;
        let sound =
            u32_at(bytes, 0)? == MAGIC && u32_at(bytes, 4)? == VERSION && fnv(bytes.get(..56)?) == sum;
        sound.then_some(Self {
            page_bytes: u32_at(bytes, 8)?,
            root: u64_at(bytes, 16)?,
            freelist: u64_at(bytes, 32)?,
            end: u64_at(bytes, 40)?,
            transaction: u64_at(bytes, 48)?,
        })
    }

    pub(super) fn encode(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(META_BYTES);
        for number in [MAGIC, VERSION, self.page_bytes, 0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        // The root bucket's sequence is never used.
        for number in [self.root, 0, self.freelist, self.end, self.transaction] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let sum = fnv(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }
}

/// FNV-1a of 64 bits.
fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Whether a file starts like a bbolt database: a look at the first page's magic number.
pub(in crate::snapshot) fn is_database(file: &File) -> bool {
    let mut start = [0; PAGE_HEADER_BYTES + 4];
    file.read_exact_at(&mut start, 0).is_ok() && u32_at(&start, PAGE_HEADER_BYTES) == Some(MAGIC)
}
