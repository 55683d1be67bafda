//! Which numbers of a range are free: a bitmap that proposes candidates. Pure; the store has the last word.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::IpNet;

/// The largest range that is handed out; of a larger one the first part is used.
pub const SIZE_MAX: u32 = 1 << 20;

/// A range that cannot be handed out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// Too few addresses to be of use.
    #[error("the range {0} is too small for service addresses")]
    TooSmall(String),
}

/// A bitmap over `0..size`. Free numbers are proposed from the upper part first, so that the lower part stays for
/// those who choose their own (KEP-3070, KEP-3668).
#[derive(Debug, Clone)]
pub struct Pool {
    words: Vec<u64>,
    size: u32,
    lower: u32,
    used: u32,
}

impl Pool {
    fn new(size: u32, lower: u32) -> Self {
        let words = usize::try_from(size.div_ceil(64)).unwrap_or(usize::MAX);
        Self { words: vec![0; words], size, lower: lower.min(size), used: 0 }
    }

    /// How many numbers are taken.
    pub fn used(&self) -> u32 {
        self.used
    }

    /// How many numbers there are.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Marks a number as taken.
    pub fn take(&mut self, number: u32) {
        if let Some((word, bit)) = self.slot(number)
            && *word & bit == 0
        {
            *word |= bit;
            self.used += 1;
        }
    }

    /// Marks a number as free.
    pub fn give_back(&mut self, number: u32) {
        if let Some((word, bit)) = self.slot(number)
            && *word & bit != 0
        {
            *word &= !bit;
            self.used -= 1;
        }
    }

    /// A free number: the first after `start` in the upper part, else in the lower part.
    pub fn propose(&self, start: u32) -> Option<u32> {
        let upper = self.size - self.lower;
        let free = |number: &u32| self.is_free(*number);
        let from = if upper == 0 { self.lower } else { self.lower + start % upper };
        (from..self.size).chain(self.lower..from).chain(0..self.lower).find(free)
    }

    /// Whether a number is free.
    pub fn is_free(&self, number: u32) -> bool {
        let word = self.words.get((number / 64) as usize).copied().unwrap_or(u64::MAX);
        word & (1 << (number % 64)) == 0
    }

    fn slot(&mut self, number: u32) -> Option<(&mut u64, u64)> {
        if number >= self.size {
            return None;
        }
        Some((self.words.get_mut((number / 64) as usize)?, 1 << (number % 64)))
    }
}

/// The addresses of a CIDR without its first, and for IPv4 its last.
#[derive(Debug, Clone)]
pub struct AddressRange {
    cidr: IpNet,
    size: u32,
}

impl AddressRange {
    /// The range of Service addresses in `cidr`.
    pub fn new(cidr: IpNet) -> Result<Self, PoolError> {
        let cidr = cidr.trunc();
        let bits = u32::from(cidr.max_prefix_len() - cidr.prefix_len());
        let reserved = if cidr.addr().is_ipv4() { 2 } else { 1 };
        let size =
            1_u64.checked_shl(bits).unwrap_or(u64::MAX).saturating_sub(reserved).min(u64::from(SIZE_MAX));
        if size < 2 {
            return Err(PoolError::TooSmall(cidr.to_string()));
        }
        Ok(Self { cidr, size: size as u32 })
    }

    /// An empty pool over the range.
    pub fn pool(&self) -> Pool {
        Pool::new(self.size, band(self.size, 16, 256))
    }

    /// The CIDR.
    pub fn cidr(&self) -> IpNet {
        self.cidr
    }

    /// The address of a number.
    pub fn address(&self, number: u32) -> IpAddr {
        match self.cidr.addr() {
            IpAddr::V4(base) => IpAddr::V4(Ipv4Addr::from(u32::from(base).wrapping_add(number + 1))),
            IpAddr::V6(base) => {
                IpAddr::V6(Ipv6Addr::from(u128::from(base).wrapping_add(u128::from(number) + 1)))
            }
        }
    }

    /// The number of an address in the range.
    pub fn number(&self, address: IpAddr) -> Option<u32> {
        let offset = match (self.cidr.addr(), address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                u128::from(u32::from(address).checked_sub(u32::from(base))?)
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => u128::from(address).checked_sub(u128::from(base))?,
            _ => return None,
        };
        let number = u32::try_from(offset.checked_sub(1)?).ok()?;
        (number < self.size).then_some(number)
    }
}

/// The ports of a range.
#[derive(Debug, Clone)]
pub struct PortRange {
    ports: RangeInclusive<u16>,
}

impl PortRange {
    /// The range of node ports.
    pub fn new(ports: RangeInclusive<u16>) -> Self {
        Self { ports }
    }

    /// An empty pool over the range.
    pub fn pool(&self) -> Pool {
        let size = self.ports.len() as u32;
        Pool::new(size, band(size, 32, 128))
    }

    /// The port of a number.
    pub fn port(&self, number: u32) -> u16 {
        self.ports.start().saturating_add(u16::try_from(number).unwrap_or(u16::MAX))
    }

    /// The number of a port in the range.
    pub fn number(&self, port: u16) -> Option<u32> {
        self.ports.contains(&port).then(|| u32::from(port - self.ports.start()))
    }
}

impl std::fmt::Display for PortRange {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}-{}", self.ports.start(), self.ports.end())
    }
}

/// The size of the lower part: `size / divisor`, at least 16 and at most `max`; nothing of a small range.
fn band(size: u32, divisor: u32, max: u32) -> u32 {
    if size < 16 { 0 } else { (size / divisor).clamp(16, max).min(size) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_numbers_are_inverse_and_the_edges_are_kept() {
        let range = AddressRange::new("10.96.0.0/24".parse().unwrap()).unwrap();
        assert_eq!(range.address(0).to_string(), "10.96.0.1");
        assert_eq!(range.pool().size(), 254);
        assert_eq!(range.address(253).to_string(), "10.96.0.254");
        for outside in ["10.96.0.0", "10.96.0.255", "10.96.1.1", "10.95.255.255", "::1"] {
            assert_eq!(range.number(outside.parse().unwrap()), None, "{outside}");
        }
        assert_eq!(range.number("10.96.0.254".parse().unwrap()), Some(253));
        assert!(AddressRange::new("10.0.0.0/31".parse().unwrap()).is_err());
        assert_eq!(AddressRange::new("fd00::/64".parse().unwrap()).unwrap().pool().size(), SIZE_MAX);
    }

    #[test]
    fn the_upper_part_is_used_up_before_the_lower() {
        let range = AddressRange::new("10.0.0.0/27".parse().unwrap()).unwrap();
        let mut pool = range.pool();
        let mut order = Vec::new();
        while let Some(number) = pool.propose(7) {
            order.push(number);
            pool.take(number);
        }
        assert_eq!(order.len(), 30);
        assert!(order[..14].iter().all(|number| *number >= 16), "{order:?}");
        assert_eq!(pool.used(), 30);
        pool.give_back(3);
        assert_eq!(pool.propose(0), Some(3));
    }

    #[test]
    fn ports_know_their_range() {
        let range = PortRange::new(30000..=32767);
        assert_eq!(range.port(0), 30000);
        assert_eq!(range.number(32767), Some(2767));
        assert_eq!(range.number(29999), None);
        assert_eq!(range.to_string(), "30000-32767");
    }
}
