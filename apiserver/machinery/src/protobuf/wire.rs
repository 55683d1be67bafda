//! Tags, varints and length-delimited bytes. Error texts are gogo-protobuf's.

use crate::json::DecodeError;

/// Wire types.
pub(super) const VARINT: u8 = 0;
pub(super) const FIXED64: u8 = 1;
pub(super) const BYTES: u8 = 2;
pub(super) const FIXED32: u8 = 5;

/// A field's value as it stands on the wire.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    /// Passed over: no field of Kubernetes is of this kind.
    Fixed32,
    Bytes(&'a [u8]),
}

fn fail<T>(text: &str) -> Result<T, DecodeError> {
    Err(DecodeError::Syntax(text.to_owned()))
}

fn wrong_type<T>(wire: Wire<'_>) -> Result<T, DecodeError> {
    let code = match wire {
        Wire::Varint(_) => VARINT,
        Wire::Fixed64(_) => FIXED64,
        Wire::Fixed32 => FIXED32,
        Wire::Bytes(_) => BYTES,
    };
    Err(DecodeError::Syntax(format!("proto: wrong wireType = {code}")))
}

impl<'a> Wire<'a> {
    pub(super) fn varint(self) -> Result<u64, DecodeError> {
        match self {
            Self::Varint(v) => Ok(v),
            other => wrong_type(other),
        }
    }

    pub(super) fn bytes(self) -> Result<&'a [u8], DecodeError> {
        match self {
            Self::Bytes(v) => Ok(v),
            other => wrong_type(other),
        }
    }

    pub(super) fn text(self) -> Result<&'a str, DecodeError> {
        match std::str::from_utf8(self.bytes()?) {
            Ok(text) => Ok(text),
            Err(_) => fail("proto: a string field holds invalid UTF-8"),
        }
    }

    pub(super) fn double(self) -> Result<f64, DecodeError> {
        match self {
            Self::Fixed64(v) => Ok(f64::from_bits(v)),
            other => wrong_type(other),
        }
    }
}

/// Reads fields one after the other.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, DecodeError> {
        // Nearly all tags and lengths are one byte.
        if let [byte, rest @ ..] = self.rest
            && *byte < 0x80
        {
            self.rest = rest;
            return Ok(u64::from(*byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for (at, byte) in self.rest.iter().enumerate().take(10) {
            if at == 9 && *byte > 1 {
                return fail("proto: integer overflow");
            }
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.rest = self.rest.get(at + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        if self.rest.len() < 10 { fail("unexpected EOF") } else { fail("proto: integer overflow") }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes not yet read.
    pub(super) const fn len(&self) -> usize {
        self.rest.len()
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], DecodeError> {
        match usize::try_from(len).ok().and_then(|len| self.rest.split_at_checked(len)) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => fail("unexpected EOF"),
        }
    }

    /// The next field's number and value; none at the end.
    #[inline]
    pub(super) fn field(&mut self) -> Result<Option<(u32, Wire<'a>)>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).unwrap_or(0);
        if number == 0 {
            return Err(DecodeError::Syntax(format!(
                "proto: illegal tag {} (wire type {})",
                tag >> 3,
                tag & 7
            )));
        }
        let wire = match (tag & 7) as u8 {
            VARINT => Wire::Varint(self.varint()?),
            FIXED64 => Wire::Fixed64(self.take(8)?.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))),
            FIXED32 => self.take(4).map(|_skipped| Wire::Fixed32)?,
            BYTES => {
                let len = self.varint()?;
                Wire::Bytes(self.take(len)?)
            }
            other => {
                return Err(DecodeError::Syntax(format!(
                    "proto: illegal wireType {other} for field {number}"
                )));
            }
        };
        Ok(Some((number, wire)))
    }
}

pub(super) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn put_tag(number: u32, wire: u8, out: &mut Vec<u8>) {
    put_varint(u64::from(number) << 3 | u64::from(wire), out);
}

pub(crate) fn put_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    put_tag(number, BYTES, out);
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

pub(crate) fn put_int(number: u32, value: i64, out: &mut Vec<u8>) {
    put_tag(number, VARINT, out);
    put_varint(value.cast_unsigned(), out);
}

/// Begins a message of unknown length: returns where its body starts.
pub(crate) fn open(number: u32, out: &mut Vec<u8>) -> usize {
    put_tag(number, BYTES, out);
    out.push(0);
    out.len()
}

/// Ends a message that began at `start`: sets its length, moving the body when that needs more than one byte.
pub(crate) fn close(start: usize, out: &mut Vec<u8>) {
    let len = out.len() - start;
    if len < 0x80 {
        if let Some(slot) = out.get_mut(start - 1) {
            *slot = len as u8;
        }
        return;
    }
    let mut prefix = [0_u8; 10];
    let mut count = 0;
    let mut rest = len as u64;
    for slot in &mut prefix {
        *slot = if rest >= 0x80 { rest as u8 | 0x80 } else { rest as u8 };
        count += 1;
        rest >>= 7;
        if rest == 0 {
            break;
        }
    }
    let end = out.len();
    out.resize(end + count - 1, 0);
    out.copy_within(start..end, start + count - 1);
    if let (Some(slot), Some(prefix)) = (out.get_mut(start - 1..start - 1 + count), prefix.get(..count)) {
        slot.copy_from_slice(prefix);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_read_back(value in any::<u64>()) {
            let mut out = Vec::new();
            put_varint(value, &mut out);
            prop_assert_eq!(Reader::new(&out).varint().unwrap(), value);
        }

        #[test]
        fn messages_of_any_length_read_back(len in 0_usize..40_000) {
            let mut out = vec![7];
            let start = open(3, &mut out);
            out.extend(std::iter::repeat_n(9, len));
            close(start, &mut out);
            let (number, wire) = Reader::new(&out[1..]).field().unwrap().unwrap();
            prop_assert_eq!((number, wire.bytes().unwrap().len()), (3, len));
        }
    }

    #[test]
    fn claimed_lengths_allocate_nothing() {
        let mut bytes = vec![0x0a];
        put_varint(1 << 63, &mut bytes);
        assert_eq!(Reader::new(&bytes).field().unwrap_err().to_string(), "unexpected EOF");
        assert!(Reader::new(&[0x0b]).field().is_err(), "groups are refused");
    }
}
