//! `format` of strings. Unknown formats restrict nothing, as upstream has it.

use base64::Engine;
use std::net::{Ipv4Addr, Ipv6Addr};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Formats that are checked.
const KNOWN: [&str; 22] = [
    "byte",
    "cidr",
    "date",
    "date-time",
    "datetime",
    "duration",
    "email",
    "hexcolor",
    "hostname",
    "ipv4",
    "ipv6",
    "k8s-long-name",
    "k8s-short-name",
    "mac",
    "password",
    "uri",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
    "int32",
    "int64",
];

/// Whether a format is one that upstream knows too.
pub fn is_known_format(format: &str) -> bool {
    KNOWN.contains(&format)
        || matches!(
            format,
            "float"
                | "double"
                | "int-or-string"
                | "bsonobjectid"
                | "isbn"
                | "isbn10"
                | "isbn13"
                | "creditcard"
                | "ssn"
                | "rgbcolor"
        )
}

/// Whether `text` has the format.
pub(super) fn fits_format(format: &str, text: &str) -> bool {
    match format {
        "byte" => base64::engine::general_purpose::STANDARD.decode(text).is_ok(),
        "date" => is_date(text),
        "date-time" | "datetime" => OffsetDateTime::parse(text, &Rfc3339).is_ok(),
        "duration" => is_duration(text),
        "email" => text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty()),
        "hexcolor" => {
            let digits = text.strip_prefix('#').unwrap_or(text);
            matches!(digits.len(), 3 | 6) && digits.bytes().all(|b| b.is_ascii_hexdigit())
        }
        "hostname" => is_hostname(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "k8s-short-name" => mainstay_apiserver_machinery::validation::names::dns_label(text).is_empty(),
        "k8s-long-name" => mainstay_apiserver_machinery::validation::names::dns_subdomain(text).is_empty(),
        "mac" => is_mac(text),
        "uri" => text.contains(':') && !text.contains(char::is_whitespace) || text.starts_with('/'),
        "uuid" => uuid_version(text).is_some(),
        "uuid3" => uuid_version(text) == Some('3'),
        "uuid4" => uuid_version(text) == Some('4'),
        "uuid5" => uuid_version(text) == Some('5'),
        _ => true,
    }
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && OffsetDateTime::parse(&format!("{text}T00:00:00Z"), &Rfc3339).is_ok()
}

/// Go's durations (`1h30m`), and those of Scala that go-openapi takes (`2 days`).
fn is_duration(text: &str) -> bool {
    const UNITS: [&str; 27] = [
        "ns", "us", "µs", "ms", "s", "m", "h", "d", "w", "nano", "nanos", "micro", "micros", "milli",
        "millis", "sec", "secs", "second", "seconds", "minute", "minutes", "hour", "hours", "day", "days",
        "week", "weeks",
    ];
    let mut rest = text.trim_start_matches(['-', '+']).trim();
    if rest == "0" {
        return true;
    }
    let mut any = false;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (digits, after) = rest.split_at(number);
        let after = after.trim_start();
        let unit = after.find(|c: char| c.is_ascii_digit() || c == ' ').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        if digits.parse::<f64>().is_err() || !UNITS.contains(&unit) {
            return false;
        }
        any = true;
        rest = after.trim_start();
    }
    any
}

fn is_hostname(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 255 && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let Ok(bits) = bits.parse::<u8>() else { return false };
    address.parse::<Ipv4Addr>().is_ok() && bits <= 32 || address.parse::<Ipv6Addr>().is_ok() && bits <= 128
}

fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    matches!(parts.len(), 6 | 8 | 20)
        && parts.iter().all(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn uuid_version(text: &str) -> Option<char> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let fits = digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    fits.then(|| digits.chars().nth(12)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_tell_good_from_bad() {
        for (format, good, bad) in [
            ("byte", "YWJj", "%%%"),
            ("date", "2026-02-28", "2026-02-30"),
            ("date-time", "2026-01-01T00:00:00Z", "yesterday"),
            ("duration", "1h30m", "1 fortnight"),
            ("email", "a@b.c", "a"),
            ("hostname", "a.example", "-a"),
            ("ipv4", "10.0.0.1", "10.0.0.256"),
            ("ipv6", "fe80::1", "fe80:::1"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("mac", "00:11:22:33:44:55", "00:11:22"),
            ("uri", "https://a.b/c", "a b"),
            ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567"),
            ("k8s-short-name", "a-b", "a.b"),
        ] {
            assert!(fits_format(format, good), "{format} {good}");
            assert!(!fits_format(format, bad), "{format} {bad}");
        }
        assert!(fits_format("something-else", "anything"));
    }
}
