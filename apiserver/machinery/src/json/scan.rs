//! The lexical part of JSON: white space, strings, numbers, literals, and skipping a whole value. Errors are Go's.

use super::DecodeError;
use smol_str::SmolStr;

/// How deep a tree that is kept may be: twice what large schemas of custom resources need, and half of what a
/// thread of two megabytes can walk even in an unoptimised build.
pub const TREE_DEPTH_MAX: usize = 128;

/// How deep a value that is only skipped may be: upstream's limit.
const DEPTH_MAX: usize = 10_000;

/// A place in a text.
pub(super) struct Cursor<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
}

/// A number as written, and what it is.
pub(super) struct Number<'t> {
    pub(super) literal: &'t str,
    pub(super) whole: Option<i64>,
}

fn syntax<T>(text: impl Into<String>) -> Result<T, DecodeError> {
    Err(DecodeError::Syntax(text.into()))
}

impl<'t> Cursor<'t> {
    pub(super) fn new(body: &'t [u8]) -> Result<Self, DecodeError> {
        match std::str::from_utf8(body) {
            Ok(text) => Ok(Self { text, bytes: body, at: 0 }),
            Err(e) => Err(DecodeError::NotUtf8 { at: e.valid_up_to() }),
        }
    }

    /// The next byte that is not white space, without taking it.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.bytes.get(self.at)?;
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    #[inline]
    pub(super) fn bump(&mut self) {
        self.at += 1;
    }

    /// The error for what stands here: `invalid character 'x' <where>`, or the end of the input.
    pub(super) fn unexpected<T>(&self, place: &str) -> Result<T, DecodeError> {
        match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            None => syntax("unexpected end of JSON input"),
            Some('\'') => syntax(format!(r"invalid character '\'' {place}")),
            Some('"') => syntax(format!("invalid character '\"' {place}")),
            Some(c) => syntax(format!("invalid character '{}' {place}", c.escape_default())),
        }
    }

    /// Takes `byte` or fails.
    pub(super) fn expect(&mut self, byte: u8, place: &str) -> Result<(), DecodeError> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            self.unexpected(place)
        }
    }

    /// Fails unless only white space is left.
    pub(super) fn end(&mut self) -> Result<(), DecodeError> {
        if self.peek().is_none() { Ok(()) } else { self.unexpected("after top-level value") }
    }

    /// After a member or item: true for a comma, false for `close`.
    pub(super) fn more(&mut self, close: u8, place: &str) -> Result<bool, DecodeError> {
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(false)
            }
            _ => self.unexpected(place),
        }
    }

    pub(super) fn literal(&mut self, word: &'static str) -> Result<(), DecodeError> {
        for byte in word.bytes() {
            if self.bytes.get(self.at) != Some(&byte) {
                return self.unexpected(&format!("in literal {word} (expecting '{}')", byte as char));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        self.at - start
    }

    pub(super) fn number(&mut self) -> Result<Number<'t>, DecodeError> {
        let start = self.at;
        if self.bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        if self.bytes.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else if self.digits() == 0 {
            return self.unexpected("in numeric literal");
        }
        let mut whole = true;
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            whole = false;
            if self.digits() == 0 {
                return self.unexpected("after decimal point in numeric literal");
            }
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            whole = false;
            if matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return self.unexpected("in exponent of numeric literal");
            }
        }
        let literal = self.text.get(start..self.at).unwrap_or_default();
        Ok(Number { literal, whole: if whole { literal.parse().ok() } else { None } })
    }

    /// The position after the run of plain characters that starts here.
    #[inline]
    fn plain_end(&self, from: usize) -> usize {
        let rest = self.bytes.get(from..).unwrap_or_default();
        let stop = |b: &u8| matches!(b, b'"' | b'\\' | 0..=0x1f);
        from + rest.iter().position(stop).unwrap_or(rest.len())
    }

    /// A string whose opening quote is next: the slice itself when nothing is escaped.
    pub(super) fn string(&mut self) -> Result<SmolStr, DecodeError> {
        self.at += 1;
        let start = self.at;
        self.at = self.plain_end(start);
        if self.bytes.get(self.at) == Some(&b'"') {
            let plain = self.text.get(start..self.at).unwrap_or_default();
            self.at += 1;
            return Ok(SmolStr::new(plain));
        }
        self.escaped_string(start)
    }

    /// The key whose opening quote is next, as a slice, if nothing in it is escaped; else nothing is taken.
    #[inline]
    pub(super) fn plain_string(&mut self) -> Option<&'t str> {
        let start = self.at + 1;
        let end = self.plain_end(start);
        if self.bytes.get(end) != Some(&b'"') {
            return None;
        }
        self.at = end + 1;
        self.text.get(start..end)
    }

    fn escaped_string(&mut self, start: usize) -> Result<SmolStr, DecodeError> {
        let mut out = String::from(self.text.get(start..self.at).unwrap_or_default());
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(SmolStr::from(out));
                }
                Some(b'\\') => {
                    self.at += 1;
                    out.push(self.escape()?);
                }
                Some(0..=0x1f) | None => return self.unexpected("in string literal"),
                Some(_) => {
                    let end = self.plain_end(self.at);
                    out.push_str(self.text.get(self.at..end).unwrap_or_default());
                    self.at = end;
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, DecodeError> {
        let plain = match self.bytes.get(self.at) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode_escape();
            }
            _ => return self.unexpected("in string escape code"),
        };
        self.at += 1;
        Ok(plain)
    }

    fn hex(&mut self) -> Result<u32, DecodeError> {
        let mut code = 0;
        for _ in 0..4 {
            let Some(digit) = self.bytes.get(self.at).and_then(|b| (*b as char).to_digit(16)) else {
                return self.unexpected("in \\u hexadecimal character escape");
            };
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }

    /// A half of a surrogate pair without its other half becomes U+FFFD, as in Go.
    fn unicode_escape(&mut self) -> Result<char, DecodeError> {
        let high = self.hex()?;
        if (0xd800..0xdc00).contains(&high) && self.bytes.get(self.at..self.at + 2) == Some(b"\\u") {
            let back = self.at;
            self.at += 2;
            let low = self.hex()?;
            if (0xdc00..0xe000).contains(&low) {
                let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or('\u{fffd}'));
            }
            self.at = back;
        }
        Ok(char::from_u32(high).unwrap_or('\u{fffd}'))
    }

    /// Skips a string whose opening quote is next.
    pub(super) fn skip_string(&mut self) -> Result<(), DecodeError> {
        self.at += 1;
        loop {
            self.at = self.plain_end(self.at);
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.escape()?;
                }
                _ => return self.unexpected("in string literal"),
            }
        }
    }

    /// Skips one value, however deep, without recursion.
    pub(super) fn skip_value(&mut self, mut depth: usize) -> Result<(), DecodeError> {
        // One bit for each open container: whether it is an object.
        let mut open: Vec<bool> = Vec::new();
        loop {
            let entered = match self.peek() {
                Some(b'{') => {
                    self.at += 1;
                    open.push(true);
                    true
                }
                Some(b'[') => {
                    self.at += 1;
                    open.push(false);
                    true
                }
                _ => {
                    self.skip_scalar()?;
                    false
                }
            };
            depth += usize::from(entered);
            if depth > DEPTH_MAX {
                return Err(DecodeError::TooDeep);
            }
            if !self.next_skipped(&mut open, entered, &mut depth)? {
                return Ok(());
            }
        }
    }

    fn skip_scalar(&mut self) -> Result<(), DecodeError> {
        match self.peek() {
            Some(b'"') => self.skip_string(),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            Some(b'-' | b'0'..=b'9') => self.number().map(drop),
            _ => self.unexpected("looking for beginning of value"),
        }
    }

    /// Goes to the next value to skip; false when all containers are closed. `fresh`: one was just opened.
    fn next_skipped(
        &mut self,
        open: &mut Vec<bool>,
        mut fresh: bool,
        depth: &mut usize,
    ) -> Result<bool, DecodeError> {
        while let Some(&object) = open.last() {
            let (close, place) =
                if object { (b'}', "after object key:value pair") } else { (b']', "after array element") };
            let more = if fresh {
                let empty = self.peek() == Some(close);
                self.at += usize::from(empty);
                !empty
            } else {
                self.more(close, place)?
            };
            fresh = false;
            if !more {
                open.pop();
                *depth = depth.saturating_sub(1);
                continue;
            }
            if object {
                if self.peek() != Some(b'"') {
                    return self.unexpected("looking for beginning of object key string");
                }
                self.skip_string()?;
                self.expect(b':', "after object key")?;
            }
            return Ok(true);
        }
        Ok(false)
    }
}
