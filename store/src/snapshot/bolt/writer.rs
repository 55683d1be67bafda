//! Lays out a bbolt file once, front to back: entries come in order, full pages go out, and of each level of a tree only the last page is held.
use std::io::{self, Seek, SeekFrom, Write};

use super::page::{
    BRANCH, BUCKET_ELEMENT, ELEMENT_BYTES, FREELIST, LEAF, META, Meta, PAGE_HEADER_BYTES, PageHeader,
};

const PAGE_BYTES: usize = 4096;
/// Where pages for entries begin: two meta pages and the list of free pages lie before.
const FIRST_PAGE: u64 = 3;
const FREELIST_PAGE: u64 = 2;

/// One page that fills.
#[derive(Default)]
struct Node {
    elements: Vec<Element>,
    /// The first element's key.
    first_key: Vec<u8>,
    /// Keys and values of all elements, one after the other.
    data: Vec<u8>,
}

struct Element {
    key_bytes: u32,
    /// A leaf's; none in a branch.
    value_bytes: u32,
    /// A branch's child, or a leaf's flags.
    number: u64,
}

impl Node {
    fn bytes(&self) -> usize {
        PAGE_HEADER_BYTES + self.elements.len() * ELEMENT_BYTES + self.data.len()
    }

    fn fits(&self, bytes: usize) -> bool {
        self.elements.is_empty() || self.bytes() + ELEMENT_BYTES + bytes <= PAGE_BYTES
    }

    fn push(&mut self, key: &[u8], value: &[u8], number: u64) {
        if self.elements.is_empty() {
            self.first_key.extend_from_slice(key);
        }
        self.data.extend_from_slice(key);
        self.data.extend_from_slice(value);
        self.elements.push(Element { key_bytes: key.len() as u32, value_bytes: value.len() as u32, number });
    }

    /// Empties it; what it had allocated is used again.
    fn clear(&mut self) {
        self.elements.clear();
        self.first_key.clear();
        self.data.clear();
    }
}

/// A tree that grows to the right: `levels[0]` are the leaves.
#[derive(Default)]
struct Tree {
    levels: Vec<Node>,
}

/// Writes a file.
pub(in crate::snapshot) struct BoltWriter<W> {
    out: W,
    next_page: u64,
    tree: Tree,
    /// The bucket that is being written.
    name: Option<Vec<u8>>,
    buckets: Vec<(Vec<u8>, u64)>,
    /// The page that is being written.
    page: Vec<u8>,
}

impl<W: Write + Seek> BoltWriter<W> {
    /// Starts a file at the start of `out`.
    pub(in crate::snapshot) fn new(mut out: W) -> io::Result<Self> {
        out.seek(SeekFrom::Start(FIRST_PAGE * PAGE_BYTES as u64))?;
        let (tree, buckets, page) = (Tree::default(), Vec::new(), Vec::new());
        Ok(Self { out, next_page: FIRST_PAGE, tree, name: None, buckets, page })
    }

    /// Starts a bucket; names come in order.
    pub(in crate::snapshot) fn bucket(&mut self, name: &[u8]) -> io::Result<()> {
        self.end_bucket()?;
        self.name = Some(name.to_vec());
        Ok(())
    }

    /// Adds an entry to the bucket; keys come in order.
    pub(in crate::snapshot) fn entry(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.add(0, key, value, 0)
    }

    /// Ends the file, and gives its size in bytes.
    pub(in crate::snapshot) fn finish(mut self) -> io::Result<u64> {
        self.end_bucket()?;
        for (name, root) in std::mem::take(&mut self.buckets) {
            let mut value = root.to_le_bytes().to_vec();
            value.extend_from_slice(&[0; 8]);
            self.add(0, &name, &value, BUCKET_ELEMENT.into())?;
        }
        let root = self.end_tree()?;
        let end = self.next_page;
        self.out.seek(SeekFrom::Start(0))?;
        for id in 0..2 {
            let meta =
                Meta { page_bytes: PAGE_BYTES as u32, root, freelist: FREELIST_PAGE, end, transaction: id };
            self.page(PageHeader { id, flags: META, count: 0, overflow: 0 }, &meta.encode())?;
        }
        self.page(PageHeader { id: FREELIST_PAGE, flags: FREELIST, count: 0, overflow: 0 }, &[])?;
        self.out.flush()?;
        Ok(end * PAGE_BYTES as u64)
    }

    fn end_bucket(&mut self) -> io::Result<()> {
        let Some(name) = self.name.take() else { return Ok(()) };
        let root = self.end_tree()?;
        self.buckets.push((name, root));
        Ok(())
    }

    fn add(&mut self, level: usize, key: &[u8], value: &[u8], number: u64) -> io::Result<()> {
        if self.tree.levels.len() <= level {
            self.tree.levels.push(Node::default());
        }
        let bytes = key.len() + value.len();
        if self.tree.levels.get(level).is_some_and(|node| !node.fits(bytes)) {
            let (first, id) = self.write_node(level)?;
            self.add(level + 1, &first, &[], id)?;
        }
        if let Some(node) = self.tree.levels.get_mut(level) {
            node.push(key, value, number);
        }
        Ok(())
    }

    /// Writes what is left, from the leaves up; the last page is the root.
    fn end_tree(&mut self) -> io::Result<u64> {
        let mut level = 0;
        loop {
            if self.tree.levels.is_empty() {
                self.tree.levels.push(Node::default());
            }
            let is_root = level + 1 >= self.tree.levels.len();
            let (first, id) = self.write_node(level)?;
            if is_root {
                self.tree.levels.clear();
                return Ok(id);
            }
            self.add(level + 1, &first, &[], id)?;
            level += 1;
        }
    }

    /// Writes a page and empties it; gives the key and the page by which its parent knows it.
    fn write_node(&mut self, level: usize) -> io::Result<(Vec<u8>, u64)> {
        let mut node = self.tree.levels.get_mut(level).map(std::mem::take).unwrap_or_default();
        let id = self.next_page;
        let pages = node.bytes().div_ceil(PAGE_BYTES).max(1);
        self.next_page += pages as u64;
        self.begin_page(PageHeader {
            id,
            flags: if level == 0 { LEAF } else { BRANCH },
            count: node.elements.len() as u16,
            overflow: (pages - 1) as u32,
        });
        let mut data = node.elements.len() * ELEMENT_BYTES;
        for (number, element) in node.elements.iter().enumerate() {
            // Positions count from the element itself.
            let position = (data - number * ELEMENT_BYTES) as u32;
            if level == 0 {
                for field in [element.number as u32, position, element.key_bytes, element.value_bytes] {
                    self.page.extend_from_slice(&field.to_le_bytes());
                }
            } else {
                for field in [position, element.key_bytes] {
                    self.page.extend_from_slice(&field.to_le_bytes());
                }
                self.page.extend_from_slice(&element.number.to_le_bytes());
            }
            data += element.key_bytes as usize + element.value_bytes as usize;
        }
        self.page.extend_from_slice(&node.data);
        self.end_page()?;
        let first = std::mem::take(&mut node.first_key);
        node.clear();
        if let Some(level) = self.tree.levels.get_mut(level) {
            *level = node;
        }
        Ok((first, id))
    }

    fn page(&mut self, header: PageHeader, body: &[u8]) -> io::Result<()> {
        self.begin_page(header);
        self.page.extend_from_slice(body);
        self.end_page()
    }

    fn begin_page(&mut self, header: PageHeader) {
        self.page.clear();
        header.encode(&mut self.page);
    }

    fn end_page(&mut self) -> io::Result<()> {
        self.page.resize(self.page.len().next_multiple_of(PAGE_BYTES), 0);
        self.out.write_all(&self.page)
    }
}
