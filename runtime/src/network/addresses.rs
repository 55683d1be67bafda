//! Which sandbox has which pod address. Decided here, written down before it is used; taken up again after a restart.

use crate::durable::{self, Sync};
use crate::failure::{Attempt, Failure, Result};
use ipnet::Ipv4Net;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;

const FILE_BYTES_MAX: u64 = 16 << 20;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Table {
    /// The address given out last: the next search starts behind it, so that an address is not reused at once.
    last: Option<Ipv4Addr>,
    by_sandbox: BTreeMap<String, Ipv4Addr>,
}

impl Table {
    /// The first free address behind the last one, around the range. The network's first host is the gateway.
    fn choose(&self, cidr: Ipv4Net) -> Option<Ipv4Addr> {
        let first = u32::from(cidr.network()) + 2;
        let end = u32::from(cidr.broadcast());
        let taken: HashSet<u32> = self.by_sandbox.values().map(|address| u32::from(*address)).collect();
        let start = self.last.map(|last| u32::from(last) + 1).filter(|next| (first..end).contains(next));
        let start = start.unwrap_or(first);
        (start..end).chain(first..start).find(|address| !taken.contains(address)).map(Ipv4Addr::from)
    }
}

/// The allocations of one node.
#[derive(Debug)]
pub(crate) struct Addresses {
    file: PathBuf,
    cidr: Ipv4Net,
    table: Mutex<Table>,
}

impl Addresses {
    /// Reads the allocations and forgets those of sandboxes that no longer exist.
    pub(crate) fn open(file: PathBuf, cidr: Ipv4Net, sandboxes: &HashSet<String>) -> Result<Self> {
        let mut table: Table =
            match durable::read(&file, FILE_BYTES_MAX).attempt("reading the address table")? {
                Some(bytes) => serde_json::from_slice(&bytes).attempt("parsing the address table")?,
                None => Table::default(),
            };
        table.by_sandbox.retain(|sandbox, address| sandboxes.contains(sandbox) && cidr.contains(&*address));
        Ok(Self { file, cidr, table: Mutex::new(table) })
    }

    /// The node's own address on the bridge.
    pub(crate) fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.cidr.network()) + 1)
    }

    /// Length of the network part.
    pub(crate) fn prefix(&self) -> u8 {
        self.cidr.prefix_len()
    }

    /// The sandbox's address: the one it has, else a free one.
    pub(crate) fn allocate(&self, sandbox: &str) -> Result<Ipv4Addr> {
        let mut table = self.table.lock();
        if let Some(address) = table.by_sandbox.get(sandbox) {
            return Ok(*address);
        }
        let address = table
            .choose(self.cidr)
            .ok_or_else(|| Failure::exhausted(format!("no free pod address is left in {}", self.cidr)))?;
        let mut next = table.clone();
        next.last = Some(address);
        next.by_sandbox.insert(sandbox.to_owned(), address);
        self.write(&next)?;
        *table = next;
        Ok(address)
    }

    /// Gives an address back; none is fine.
    pub(crate) fn release(&self, sandbox: &str) -> Result<()> {
        let mut table = self.table.lock();
        let mut next = table.clone();
        if next.by_sandbox.remove(sandbox).is_some() {
            self.write(&next)?;
            *table = next;
        }
        Ok(())
    }

    fn write(&self, table: &Table) -> Result<()> {
        let bytes = serde_json::to_vec(table).attempt("writing the address table")?;
        // Without a sync: a power cut ends the sandboxes too.
        durable::replace(&self.file, &bytes, Sync::No).attempt("writing the address table")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &tempfile::TempDir, known: &[&str]) -> Addresses {
        let known = known.iter().map(|id| (*id).to_owned()).collect();
        Addresses::open(dir.path().join("a.json"), "10.1.2.0/29".parse().unwrap(), &known).unwrap()
    }

    #[test]
    fn every_sandbox_gets_one_address_and_the_range_ends() {
        let dir = tempfile::tempdir().unwrap();
        let addresses = open(&dir, &[]);
        let given: HashSet<_> = (0..5).map(|i| addresses.allocate(&format!("s{i}")).unwrap()).collect();
        assert_eq!(given.len(), 5);
        assert!(!given.contains(&addresses.gateway()));
        assert!(!given.contains(&"10.1.2.7".parse().unwrap()));
        assert!(addresses.allocate("s9").is_err());
        assert_eq!(addresses.allocate("s3").unwrap(), addresses.allocate("s3").unwrap());
    }

    #[test]
    fn released_address_is_not_the_next_one_given() {
        let dir = tempfile::tempdir().unwrap();
        let addresses = open(&dir, &[]);
        let first = addresses.allocate("a").unwrap();
        addresses.release("a").unwrap();
        assert_ne!(addresses.allocate("b").unwrap(), first);
    }

    #[test]
    fn restart_keeps_live_allocations_and_drops_dead_ones() {
        let dir = tempfile::tempdir().unwrap();
        let before = open(&dir, &[]);
        let live = before.allocate("live").unwrap();
        for i in 0..4 {
            before.allocate(&format!("dead{i}")).unwrap();
        }
        let after = open(&dir, &["live"]);
        assert_eq!(after.allocate("live").unwrap(), live);
        for i in 0..4 {
            assert_ne!(after.allocate(&format!("new{i}")).unwrap(), live);
        }
    }
}
