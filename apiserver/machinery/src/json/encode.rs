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
    let mut from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' {
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
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::decode_free;
    use proptest::prelude::*;

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
