//! Messages that are one scalar in JSON: times, quantities, int-or-strings, durations.

use super::wire::Reader;
use crate::json::DecodeError;
use crate::scalar::Instant;

/// `Time` and `MicroTime`.
pub(super) fn instant(bytes: &[u8]) -> Result<Instant, DecodeError> {
    if bytes.is_empty() {
        return Ok(Instant::ZERO);
    }
    let mut instant = Instant { seconds: 0, nanos: 0 };
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        match number {
            1 => instant.seconds = wire.varint()?.cast_signed(),
            2 => instant.nanos = u32::try_from(wire.varint()?).unwrap_or(u32::MAX),
            _ => {}
        }
    }
    if instant.is_writable() {
        Ok(instant)
    } else {
        Err(DecodeError::Value(format!(
            "a time of {} seconds and {} nanoseconds is out of range",
            instant.seconds, instant.nanos
        )))
    }
}

/// The text of field 1: a quantity.
pub(super) fn inner_text(bytes: &[u8]) -> Result<&str, DecodeError> {
    let mut text = "";
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        if number == 1 {
            text = wire.text()?;
        }
    }
    Ok(text)
}

/// The bytes of field 1: a `RawExtension` or the like.
pub(super) fn inner_bytes(bytes: &[u8]) -> Result<&[u8], DecodeError> {
    let mut inner = [].as_slice();
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        if number == 1 {
            inner = wire.bytes()?;
        }
    }
    Ok(inner)
}

/// The number of field 1: a duration in nanoseconds.
pub(super) fn inner_int(bytes: &[u8]) -> Result<i64, DecodeError> {
    let mut value = 0;
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        if number == 1 {
            value = wire.varint()?.cast_signed();
        }
    }
    Ok(value)
}

/// An int-or-string.
pub(super) enum IntOrString<'a> {
    Int(i64),
    Str(&'a str),
}

pub(super) fn int_or_string(bytes: &[u8]) -> Result<IntOrString<'_>, DecodeError> {
    let (mut kind, mut int, mut text) = (0, 0_i64, "");
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        match number {
            1 => kind = wire.varint()?,
            2 => int = i64::from(wire.varint()? as i32),
            3 => text = wire.text()?,
            _ => {}
        }
    }
    match kind {
        0 => Ok(IntOrString::Int(int)),
        1 => Ok(IntOrString::Str(text)),
        other => Err(DecodeError::Value(format!("impossible IntOrString.Type {other}"))),
    }
}

/// Key and value of a map's entry; absent ones are empty.
pub(super) fn entry(bytes: &[u8]) -> Result<(&str, Option<super::wire::Wire<'_>>), DecodeError> {
    let (mut key, mut value) = ("", None);
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        match number {
            1 => key = wire.text()?,
            2 => value = Some(wire),
            _ => {}
        }
    }
    Ok((key, value))
}
