//! Query parameters. Pure; unknown parameters are kept and ignored, as upstream does.

use std::num::{IntErrorKind, ParseIntError};

use mainstay_proto_api::Status;

/// Decoded query parameters in the order sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

/// More pairs than any client sends; the rest is ignored.
const PAIRS_MAX: usize = 1000;

impl Query {
    /// Decodes `a=b&c=d` with percent and plus escapes; broken escapes and bytes that are no UTF-8 become U+FFFD.
    pub fn parse(raw: &str) -> Self {
        let pairs = raw
            .split('&')
            .filter(|part| !part.is_empty())
            .take(PAIRS_MAX)
            .map(|part| {
                let (name, value) = part.split_once('=').unwrap_or((part, ""));
                (unescape(name), unescape(value))
            })
            .collect();
        Self { pairs }
    }

    /// The first value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The first value of `name`, unless it is empty.
    pub fn non_empty(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|v| !v.is_empty())
    }

    /// All values of `name`.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The number that `name` has, if it is given.
    ///
    /// # Errors
    /// 400 for what is no number, in the words of upstream's language.
    pub fn integer(&self, name: &str) -> Result<Option<i64>, Status> {
        let Some(text) = self.non_empty(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|error| Status::bad_request(number_fault("ParseInt", text, &error)))
    }

    /// Upstream's reading of a boolean parameter: present and neither `0` nor `false`.
    pub fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|v| v != "0" && !v.eq_ignore_ascii_case("false"))
    }
}

/// Why a text is no number, as Go's `strconv` says it.
pub fn number_fault(function: &str, text: &str, error: &ParseIntError) -> String {
    let why = match error.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
    };
    format!("strconv.{function}: parsing {text:?}: {why}")
}

fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => match decode_pair(bytes.as_slice_pair()) {
                Some(decoded) => {
                    out.push(decoded);
                    bytes.nth(1);
                }
                None => out.push(b'%'),
            },
            other => out.push(other),
        }
    }
    String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// The next two bytes of an iterator, without taking them.
trait PeekPair {
    fn as_slice_pair(&self) -> Option<(u8, u8)>;
}

impl PeekPair for std::str::Bytes<'_> {
    fn as_slice_pair(&self) -> Option<(u8, u8)> {
        let mut ahead = self.clone();
        Some((ahead.next()?, ahead.next()?))
    }
}

fn decode_pair(pair: Option<(u8, u8)>) -> Option<u8> {
    let (high, low) = pair?;
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    Some(digit(high)? * 16 + digit(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_and_broken_ones_kept() {
        let query = Query::parse("labelSelector=app%3Dweb,tier%20in+(a)&x=%zz&bad=%ff&empty=&flag");
        assert_eq!(query.get("labelSelector"), Some("app=web,tier in (a)"));
        assert_eq!(query.get("x"), Some("%zz"));
        assert_eq!(query.get("bad"), Some("\u{fffd}"));
        assert_eq!(query.non_empty("empty"), None);
        assert!(query.is_true("flag"));
        assert!(!Query::parse("watch=false").is_true("watch"));
    }
}
