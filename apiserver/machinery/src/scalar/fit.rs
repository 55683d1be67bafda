//! Whether a single JSON value fits a field's base, and its canonical form.

use super::{
    Instant, format_duration, format_micro_time, format_time, parse_duration, parse_micro_time, parse_time,
};
use crate::schema::Base;
use crate::value::Value;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mainstay_proto_api::Quantity;
use smol_str::SmolStr;

/// Why a value does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misfit {
    /// Another JSON type is wanted: `json: cannot unmarshal <got> into Go struct field … of type …`.
    Type {
        /// What stands there, as `string` or `number 1.5`.
        got: String,
    },
    /// The text itself is wrong; upstream's words for it.
    Text(String),
}

fn mistyped<T>(value: &Value) -> Result<T, Misfit> {
    Err(Misfit::Type { got: value.json_kind().to_owned() })
}

fn wrong<T>(text: impl Into<String>) -> Result<T, Misfit> {
    Err(Misfit::Text(text.into()))
}

/// Makes `value` what upstream would hold for a field of this base: canonical, or null for Go's zero time.
/// `literal` is the number as it was written, if it was one. Structs and lists do not belong here.
pub fn fit(value: Value, base: Base, literal: Option<&str>) -> Result<Value, Misfit> {
    let number = |v: &Value| literal.map_or_else(|| number_text(v), ToOwned::to_owned);
    match (base, value) {
        (Base::Quantity, v @ (Value::Int(_) | Value::Float(_))) => quantity(&number(&v)),
        (Base::Quantity, Value::Str(text)) => quantity(text.trim()),
        (_, Value::Null) => Ok(Value::Null),
        (Base::Quantity, _) => wrong(mainstay_proto_api::QuantityError::Format.to_string()),
        (Base::Bool, v @ Value::Bool(_))
        | (Base::Int64, v @ Value::Int(_))
        | (Base::Float, v @ (Value::Int(_) | Value::Float(_)))
        | (Base::Str | Base::IntOrString, v @ Value::Str(_))
        | (Base::Raw | Base::Any, v) => Ok(v),
        (Base::Int32 | Base::IntOrString, v @ Value::Int(n)) if i32::try_from(n).is_ok() => Ok(v),
        (Base::Int32 | Base::Int64, v @ (Value::Int(_) | Value::Float(_))) => {
            Err(Misfit::Type { got: format!("number {}", number(&v)) })
        }
        (Base::IntOrString, v) => {
            let got = match v {
                Value::Int(_) | Value::Float(_) => format!("number {}", number(&v)),
                v => v.json_kind().to_owned(),
            };
            wrong(format!("json: cannot unmarshal {got} into Go value of type int32"))
        }
        (Base::Bytes, Value::Str(text)) => bytes(&text),
        (Base::Time, Value::Str(text)) => time(text, parse_time, format_time),
        (Base::MicroTime, Value::Str(text)) => time(text, parse_micro_time, format_micro_time),
        (Base::Duration, Value::Str(text)) => match parse_duration(&text) {
            Ok(nanos) => Ok(Value::Str(format_duration(nanos))),
            Err(why) => wrong(why),
        },
        (Base::Time | Base::MicroTime | Base::Duration, v) => {
            wrong(format!("json: cannot unmarshal {} into Go value of type string", v.json_kind()))
        }
        (_, v) => mistyped(&v),
    }
}

fn number_text(value: &Value) -> String {
    match value {
        Value::Int(v) => v.to_string(),
        Value::Float(v) => v.to_string(),
        _ => String::new(),
    }
}

fn quantity(text: &str) -> Result<Value, Misfit> {
    Quantity::canonical_text(text).map(Value::Str).or_else(|e| wrong(e.to_string()))
}

fn time(
    text: SmolStr,
    parse: fn(&str) -> Result<Instant, String>,
    format: fn(Instant) -> SmolStr,
) -> Result<Value, Misfit> {
    match parse(&text) {
        Ok(Instant::ZERO) => Ok(Value::Null),
        Ok(time) => {
            let canonical = format(time);
            Ok(Value::Str(if canonical == text { text } else { canonical }))
        }
        Err(why) => wrong(why),
    }
}

/// Base64 with padding; line breaks are allowed and dropped, as Go does.
fn bytes(text: &SmolStr) -> Result<Value, Misfit> {
    let joined;
    let plain: &str = if text.contains(['\n', '\r']) {
        joined = text.replace(['\n', '\r'], "");
        &joined
    } else {
        text
    };
    // Decoding in small steps checks without holding the bytes.
    let mut out = [0_u8; 3072];
    let mut at = 0;
    for chunk in plain.as_bytes().chunks(4096) {
        let last = at + chunk.len() == plain.len();
        match STANDARD.decode_slice(chunk, &mut out) {
            Ok(len) if last || len == chunk.len() / 4 * 3 => at += chunk.len(),
            _ => return wrong(format!("illegal base64 data at input byte {}", at + bad_base64_byte(chunk))),
        }
    }
    Ok(Value::Str(if plain.len() == text.len() { text.clone() } else { SmolStr::new(plain) }))
}

/// The first byte that makes a chunk malformed, as Go counts.
fn bad_base64_byte(chunk: &[u8]) -> usize {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    match chunk.iter().position(|b| !plain(b)) {
        Some(at) if chunk.get(at) == Some(&b'=') && at % 4 >= 2 => {
            let after = if at % 4 == 2 { at + 2 } else { at + 1 };
            after.min(chunk.len())
        }
        Some(at) => at,
        None => chunk.len() / 4 * 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_canonical() {
        for (base, value, want) in [
            (Base::Quantity, Value::from("1000m"), Value::from("1")),
            (Base::Quantity, Value::Float(1.5), Value::from("1500m")),
            (Base::Time, Value::from("2026-01-01T01:00:00+01:00"), Value::from("2026-01-01T00:00:00Z")),
            (Base::Time, Value::from("0001-01-01T00:00:00Z"), Value::Null),
            (Base::IntOrString, Value::Int(80), Value::Int(80)),
            (Base::Bytes, Value::from("aGk=\n"), Value::from("aGk=")),
            (Base::Duration, Value::from("60s"), Value::from("1m0s")),
            (Base::Str, Value::Null, Value::Null),
        ] {
            assert_eq!(fit(value, base, None), Ok(want));
        }
    }

    #[test]
    fn misfits_are_told_in_upstreams_words() {
        assert_eq!(fit(Value::from("x"), Base::Int32, None), Err(Misfit::Type { got: "string".into() }));
        assert_eq!(
            fit(Value::Int(3_000_000_000), Base::Int32, None),
            Err(Misfit::Type { got: "number 3000000000".into() })
        );
        assert_eq!(
            fit(Value::Float(1.0), Base::Int64, Some("1.0")),
            Err(Misfit::Type { got: "number 1.0".into() })
        );
        for text in ["a", "aGk", "aGk=x", "a*b=", "=aaa"] {
            assert!(matches!(fit(Value::from(text), Base::Bytes, None), Err(Misfit::Text(_))), "{text}");
        }
        let long = format!("{}!{}", "A".repeat(5000), "A".repeat(3));
        let Err(Misfit::Text(text)) = fit(Value::from(long), Base::Bytes, None) else {
            panic!("must not fit")
        };
        assert_eq!(text, "illegal base64 data at input byte 5000");
    }
}
