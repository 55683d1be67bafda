//! Conversions, sizes and types.

use super::dispatch::{Called, text};
use crate::eval::failed;
use crate::value::{Val, parse_duration, parse_timestamp};
use mainstay_apiserver_machinery::json;
use mainstay_apiserver_machinery::validation::quote;
use std::sync::Arc;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

pub(super) fn call<'a>(function: &str, _is_member: bool, args: &[Val<'a>]) -> Option<Called<'a>> {
    Some(match (function, args) {
        ("size", [Val::Str(value)]) => Ok(Val::Int(value.chars().count() as i64)),
        ("size", [value @ (Val::Bytes(_) | Val::List(_) | Val::Map(_) | Val::Tree(..))]) => {
            Ok(Val::Int(value.size() as i64))
        }
        ("int", [value]) => int(value),
        ("uint", [value]) => uint(value),
        ("double", [value]) => double(value),
        ("string", [value]) => string(value),
        ("bytes", [Val::Str(value)]) => Ok(Val::Bytes(Arc::from(value.as_bytes()))),
        ("bool", [Val::Str(value)]) => match value.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Val::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Val::Bool(false)),
            _ => failed("type conversion error from 'string' to 'bool'"),
        },
        ("duration", [Val::Str(value)]) => parse_duration(value).map_or_else(
            || failed("type conversion error from 'string' to 'google.protobuf.Duration'"),
            |duration| Ok(Val::Duration(duration)),
        ),
        ("timestamp", [Val::Str(value)]) => parse_timestamp(value).map_or_else(
            || failed("type conversion error from 'string' to 'google.protobuf.Timestamp'"),
            |time| Ok(Val::Timestamp(time)),
        ),
        ("timestamp", [Val::Int(seconds)]) => OffsetDateTime::from_unix_timestamp(*seconds)
            .map_or_else(|_range| failed("timestamp overflow"), |time| Ok(Val::Timestamp(time))),
        ("type", [value]) => Ok(Val::Type(value.type_name())),
        ("dyn", [value])
        | ("bytes", [value @ Val::Bytes(_)])
        | ("bool", [value @ Val::Bool(_)])
        | ("duration", [value @ Val::Duration(_)])
        | ("timestamp", [value @ Val::Timestamp(_)]) => Ok(value.clone()),
        _ => return None,
    })
}

fn int<'a>(value: &Val<'a>) -> Called<'a> {
    match value {
        Val::Int(number) => Ok(Val::Int(*number)),
        Val::Uint(number) => i64::try_from(*number)
            .map_or_else(|_range| failed("integer overflow"), |number| Ok(Val::Int(number))),
        // The bounds are those of a 64-bit number, as floating point can say them.
        Val::Double(number) if (-9.223_372_036_854_775e18..9.223_372_036_854_775e18).contains(number) => {
            Ok(Val::Int(*number as i64))
        }
        Val::Double(_) => failed("integer overflow"),
        Val::Str(value) => match value.parse() {
            Ok(number) => Ok(Val::Int(number)),
            Err(_) => failed("type conversion error from 'string' to 'int'"),
        },
        Val::Timestamp(time) => Ok(Val::Int(time.unix_timestamp())),
        Val::Duration(duration) => Ok(Val::Int(duration.whole_nanoseconds() as i64)),
        _ => failed("no such overload"),
    }
}

fn uint<'a>(value: &Val<'a>) -> Called<'a> {
    match value {
        Val::Uint(number) => Ok(Val::Uint(*number)),
        Val::Int(number) => u64::try_from(*number)
            .map_or_else(|_range| failed("unsigned integer overflow"), |number| Ok(Val::Uint(number))),
        Val::Double(number) if (0.0..1.844_674_407_370_955e19).contains(number) => {
            Ok(Val::Uint(*number as u64))
        }
        Val::Double(_) => failed("unsigned integer overflow"),
        Val::Str(value) => match value.parse() {
            Ok(number) => Ok(Val::Uint(number)),
            Err(_) => failed("type conversion error from 'string' to 'uint'"),
        },
        _ => failed("no such overload"),
    }
}

fn double<'a>(value: &Val<'a>) -> Called<'a> {
    match value {
        Val::Double(number) => Ok(Val::Double(*number)),
        Val::Int(number) => Ok(Val::Double(*number as f64)),
        Val::Uint(number) => Ok(Val::Double(*number as f64)),
        Val::Str(value) => match value.parse() {
            Ok(number) => Ok(Val::Double(number)),
            Err(_) => failed("type conversion error from 'string' to 'double'"),
        },
        _ => failed("no such overload"),
    }
}

fn string<'a>(value: &Val<'a>) -> Called<'a> {
    match value {
        Val::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(value) => Ok(text(value)),
            Err(_) => failed("invalid UTF-8 in bytes, cannot convert to string"),
        },
        Val::List(_) | Val::Map(_) | Val::Tree(..) | Val::Null | Val::Optional(_) => {
            failed("no such overload")
        }
        other => Ok(text(shown(other))),
    }
}

/// A value as text, as `string()` and messages show it.
pub(crate) fn shown(value: &Val<'_>) -> String {
    match value {
        Val::Null => "null".to_owned(),
        Val::Bool(flag) => flag.to_string(),
        Val::Int(number) => number.to_string(),
        Val::Uint(number) => number.to_string(),
        Val::Double(number) => number.to_string(),
        Val::Str(value) | Val::Url(value) => value.to_string(),
        Val::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Val::Duration(duration) => shown_duration(*duration),
        Val::Timestamp(time) => {
            let utc = time.to_offset(time::UtcOffset::UTC);
            utc.format(&Rfc3339).unwrap_or_default()
        }
        Val::Tree(tree, _) => json::to_string(tree),
        Val::List(items) => {
            let items: Vec<String> = items.iter().map(quoted).collect();
            format!("[{}]", items.join(", "))
        }
        Val::Map(pairs) => {
            let pairs: Vec<String> =
                pairs.iter().map(|(key, value)| format!("{}: {}", quoted(key), quoted(value))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
        Val::Optional(Some(inner)) => format!("optional({})", shown(inner)),
        Val::Optional(None) => "optional.none()".to_owned(),
        Val::Quantity(quantity) => quantity.text().to_string(),
        Val::Ip(address) => address.to_string(),
        Val::Cidr(address, bits) => format!("{address}/{bits}"),
        Val::Semver(version) => version.to_string(),
        Val::Access(access) => access.type_name().to_owned(),
        Val::Format(name) | Val::Type(name) => (*name).to_owned(),
        Val::Made(made) => {
            let fields: Vec<String> =
                made.1.iter().map(|(name, value)| format!("{name}: {}", quoted(value))).collect();
            format!("{}{{{}}}", made.0, fields.join(", "))
        }
    }
}

fn quoted(value: &Val<'_>) -> String {
    match value {
        Val::Str(value) => quote(value),
        other => shown(other),
    }
}

fn shown_duration(duration: Duration) -> String {
    let nanos = duration.whole_nanoseconds();
    let (sign, nanos) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
    let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    if rest == 0 {
        return format!("{sign}{seconds}s");
    }
    let fraction = format!("{rest:09}");
    format!("{sign}{seconds}.{}s", fraction.trim_end_matches('0'))
}
