//! Words of an expression.

use smol_str::SmolStr;
use std::sync::Arc;

/// A word.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Ident(SmolStr),
    /// A name in backquotes, which may hold any characters of field names.
    Quoted(SmolStr),
    Int(u64),
    Uint(u64),
    Double(f64),
    Str(SmolStr),
    Bytes(Arc<[u8]>),
    /// An operator or bracket.
    Sign(&'static str),
    End,
}

/// A word with the byte where it starts.
pub(crate) type Placed = (usize, Token);

/// Why the text has no words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LexError {
    pub(crate) at: usize,
    pub(crate) reason: String,
}

const SIGNS: [&str; 29] = [
    "&&", "||", "==", "!=", "<=", ">=", "[?", ".?", "{?", "(", ")", "[", "]", "{", "}", ".", ",", ":", "?",
    "+", "-", "*", "/", "%", "<", ">", "!", "=", "|",
];

/// The words of `text`, with an end.
pub(crate) fn lex(text: &str) -> Result<Vec<Placed>, LexError> {
    let mut lexer = Lexer { text, at: 0 };
    let mut out = Vec::new();
    loop {
        lexer.skip();
        let at = lexer.at;
        let token = lexer.token()?;
        let is_end = token == Token::End;
        out.push((at, token));
        if is_end {
            return Ok(out);
        }
    }
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn wrong<T>(&self, reason: impl Into<String>) -> Result<T, LexError> {
        Err(LexError { at: self.at, reason: reason.into() })
    }

    /// Spaces and comments.
    fn skip(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0c']);
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with("//") {
                return;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    fn token(&mut self) -> Result<Token, LexError> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(Token::End) };
        if let Some(length) = quote_prefix(rest) {
            return self.quoted(length);
        }
        if first.is_ascii_digit() || (first == '.' && rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit))
        {
            return self.number();
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            self.at += end;
            return Ok(Token::Ident(rest.get(..end).unwrap_or_default().into()));
        }
        if first == '`' {
            return self.backquoted();
        }
        match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            Some(sign) => {
                self.at += sign.len();
                Ok(Token::Sign(sign))
            }
            None => self.wrong(format!("Syntax error: token recognition error at: '{first}'")),
        }
    }

    fn backquoted(&mut self) -> Result<Token, LexError> {
        let inner = self.rest().get(1..).unwrap_or_default();
        let Some(end) = inner.find('`') else { return self.wrong("Syntax error: unterminated name") };
        let name = inner.get(..end).unwrap_or_default();
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | ' ');
        if name.is_empty() || !name.chars().all(fits) {
            return self.wrong("Syntax error: not a name");
        }
        self.at += end + 2;
        Ok(Token::Quoted(name.into()))
    }

    fn number(&mut self) -> Result<Token, LexError> {
        let rest = self.rest();
        if let Some(hex) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
            let end = hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len());
            let Ok(number) = u64::from_str_radix(hex.get(..end).unwrap_or_default(), 16) else {
                return self.wrong("invalid int literal");
            };
            self.at += 2 + end;
            return Ok(self.whole(number));
        }
        let bytes = rest.as_bytes();
        let digits =
            |from: usize| from + bytes.iter().skip(from).take_while(|byte| byte.is_ascii_digit()).count();
        let mut end = digits(0);
        let mut is_double = false;
        if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
            is_double = true;
            end = digits(end + 1);
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            let after = digits(end + 1 + sign);
            if after > end + 1 + sign {
                is_double = true;
                end = after;
            }
        }
        let literal = rest.get(..end).unwrap_or_default();
        if is_double {
            let Ok(number) = literal.parse::<f64>() else { return self.wrong("invalid double literal") };
            self.at += end;
            return Ok(Token::Double(number));
        }
        let Ok(number) = literal.parse::<u64>() else { return self.wrong("invalid int literal") };
        self.at += end;
        Ok(self.whole(number))
    }

    /// A whole number, unsigned when a `u` follows.
    fn whole(&mut self, number: u64) -> Token {
        if self.rest().starts_with(['u', 'U']) {
            self.at += 1;
            return Token::Uint(number);
        }
        Token::Int(number)
    }

    /// A string or bytes; `length` is that of the letters before the quote.
    fn quoted(&mut self, length: usize) -> Result<Token, LexError> {
        let start = self.rest();
        let prefix = start.get(..length).unwrap_or_default().to_ascii_lowercase();
        let (is_raw, is_bytes) = (prefix.contains('r'), prefix.contains('b'));
        let body = start.get(length..).unwrap_or_default();
        let quote = if body.starts_with("\"\"\"") || body.starts_with("'''") { 3 } else { 1 };
        let closing = body.get(..quote).unwrap_or_default();
        let mut bytes = Vec::new();
        let mut at = quote;
        loop {
            let rest = body.get(at..).unwrap_or_default();
            if rest.starts_with(closing) {
                self.at += length + at + quote;
                break;
            }
            let Some(c) = rest.chars().next() else { return self.wrong("Syntax error: unterminated string") };
            if quote == 1 && matches!(c, '\n' | '\r') {
                return self.wrong("Syntax error: unterminated string");
            }
            if c == '\\' && !is_raw {
                at += self.escape(rest, is_bytes, &mut bytes)?;
            } else {
                bytes.extend_from_slice(rest.get(..c.len_utf8()).unwrap_or_default().as_bytes());
                at += c.len_utf8();
            }
        }
        if is_bytes {
            return Ok(Token::Bytes(bytes.into()));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Token::Str(text.into())),
            Err(_) => self.wrong("invalid string literal"),
        }
    }

    /// Appends what an escape stands for; the length of the escape.
    fn escape(&self, rest: &str, is_bytes: bool, out: &mut Vec<u8>) -> Result<usize, LexError> {
        let code = rest.as_bytes().get(1).copied().unwrap_or_default();
        let simple = match code {
            b'a' => Some(7),
            b'b' => Some(8),
            b'f' => Some(12),
            b'n' => Some(b'\n'),
            b'r' => Some(b'\r'),
            b't' => Some(b'\t'),
            b'v' => Some(11),
            b'\\' | b'\'' | b'"' | b'`' | b'?' => Some(code),
            _ => None,
        };
        if let Some(byte) = simple {
            out.push(byte);
            return Ok(2);
        }
        let (digits_at, digits, radix) = match code {
            b'x' | b'X' => (2, 2, 16),
            b'u' if !is_bytes => (2, 4, 16),
            b'U' if !is_bytes => (2, 8, 16),
            b'0'..=b'3' => (1, 3, 8),
            _ => return self.wrong("Syntax error: invalid escape"),
        };
        let number = rest
            .get(digits_at..digits_at + digits)
            .and_then(|digits| u32::from_str_radix(digits, radix).ok());
        match (number, is_bytes) {
            (Some(number), true) if number < 256 => out.push(number as u8),
            (Some(number), false) => match char::from_u32(number) {
                Some(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                None => return self.wrong("Syntax error: invalid code point"),
            },
            _ => return self.wrong("Syntax error: invalid escape"),
        }
        Ok(digits_at + digits)
    }
}

/// The number of letters before a quote, when a string or bytes start here.
fn quote_prefix(rest: &str) -> Option<usize> {
    let letters = rest.bytes().take(2).take_while(|byte| matches!(byte, b'r' | b'R' | b'b' | b'B')).count();
    (0..=letters).rev().find(|length| matches!(rest.as_bytes().get(*length), Some(b'"' | b'\'')))
}
