//! Encoding: compact JSON.

use crate::value::Value;

/// Appends `value` as compact JSON.
pub fn encode(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(v) => write_int(*v, out),
        Value::Float(v) => write_float(*v, out),
        Value::Str(v) => write_string(v, out),
        Value::List(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                encode(item, out);
            }
            out.push(b']');
        }
        Value::Map(map) => {
            out.push(b'{');
            for (at, (key, value)) in map.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_string(key, out);
                out.push(b':');
                encode(value, out);
            }
            out.push(b'}');
        }
    }
}

/// `value` as compact JSON text.
pub fn to_string(value: &Value) -> String {
    let mut out = Vec::new();
    encode(value, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// Appends a whole number.
pub(crate) fn write_int(value: i64, out: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        if let Some(slot) = digits.get_mut(at) {
            *slot = b'0' + (rest % 10) as u8;
        }
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

/// Appends a number as Go writes it: with an exponent when it is very small or very large.
pub(crate) fn write_float(value: f64, out: &mut Vec<u8>) {
    let size = value.abs();
    let text =
        if size != 0.0 && !(1e-6..1e21).contains(&size) { format!("{value:e}") } else { value.to_string() };
    out.extend_from_slice(text.as_bytes());
}

/// Appends a string with its quotes.
pub(crate) fn write_string(text: &str, out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let bytes = text.as_bytes();
    match first_escaped(bytes) {
        None => out.extend_from_slice(bytes),
        Some(at) => write_escaped(bytes, at, out),
    }
    out.push(b'"');
}

/// Where in `bytes`, about, the first one stands that has to be escaped: not after it, and less than eight before.
fn first_escaped(bytes: &[u8]) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    let in_words = words.iter().position(|word| has_escaped(u64::from_le_bytes(*word))).map(|at| at * 8);
    in_words.or_else(|| rest.iter().any(|byte| is_escaped(*byte)).then_some(words.len() * 8))
}

/// Appends bytes that are [plain](is_plain) as a string with its quotes.
pub(crate) fn write_plain(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    out.extend_from_slice(bytes);
    out.push(b'"');
}

/// Whether these bytes are ASCII of which nothing has to be escaped, as nearly all strings are.
pub(crate) fn is_plain(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().map(|word| u64::from_le_bytes(*word)).all(|word| word & HIGH == 0 && !has_escaped(word))
        && rest.iter().all(|byte| byte.is_ascii() && !is_escaped(*byte))
}

/// The lowest bit, and the highest, of each of eight bytes.
const EACH: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = EACH * 0x80;

const fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Whether one of eight bytes has to be escaped: a subtraction borrows in each that is below what is taken from it.
const fn has_escaped(word: u64) -> bool {
    let control = word.wrapping_sub(EACH * 0x20) & !word;
    let quotes = word ^ (EACH * b'"' as u64);
    let slashes = word ^ (EACH * b'\\' as u64);
    let same = (quotes.wrapping_sub(EACH) & !quotes) | (slashes.wrapping_sub(EACH) & !slashes);
    (control | same) & HIGH != 0
}

/// Appends bytes of which those before `start` need no escape.
fn write_escaped(bytes: &[u8], start: usize, out: &mut Vec<u8>) {
    let mut from = 0;
    for (at, byte) in bytes.iter().enumerate().skip(start) {
        if !is_escaped(*byte) {
            continue;
        }
        out.extend_from_slice(bytes.get(from..at).unwrap_or_default());
        from = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
    }
    out.extend_from_slice(bytes.get(from..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::decode_free;
    use proptest::prelude::*;

    #[test]
    fn every_byte_is_escaped_wherever_it_stands() {
        for byte in 0..0x80_u8 {
            for place in 0..20 {
                let mut text = vec![b'a'; 20];
                text[place] = byte;
                let text = String::from_utf8(text).unwrap();
                let mut out = Vec::new();
                write_string(&text, &mut out);
                let expected = serde_json::to_string(&text).unwrap();
                let named = expected.replace("\\b", "\\u0008").replace("\\f", "\\u000c");
                assert_eq!(is_plain(text.as_bytes()), out.len() == 22, "{byte:#x} at {place}");
                assert_eq!(String::from_utf8(out).unwrap(), named, "{byte:#x} at {place}");
            }
        }
        let mut out = Vec::new();
        write_string("äöü€ 日本語 and more", &mut out);
        assert_eq!(out, "\"äöü€ 日本語 and more\"".as_bytes());
        assert!(!is_plain("12345678é".as_bytes()) && !is_plain("é2345678".as_bytes()));
    }

    proptest! {
        #[test]
        fn strings_and_numbers_read_back(text in ".{0,40}|[\\x00-\\x7f]{0,40}", int in any::<i64>(), float in -1e300..1e300_f64) {
            for value in [Value::from(text), Value::Int(int), Value::Float(float)] {
                let back = decode_free(to_string(&value).as_bytes()).unwrap();
                if let (Value::Int(back), Value::Float(float)) = (&back, &value) {
                    prop_assert!((*back as f64 - float).abs() < f64::EPSILON);
                } else {
                    prop_assert_eq!(&back, &value);
                }
            }
        }
    }
}
