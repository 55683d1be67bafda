//! Go durations: `1h30m0s`.

use smol_str::{SmolStr, format_smolstr};

const UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Digits after the point that count; more cannot change a nanosecond.
const FRACTION_DIGITS_MAX: usize = 18;

/// Reads a duration in nanoseconds; Go's error text.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return Err(invalid());
        }
        let unit_end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let Some((_, nanos)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("time: unknown unit {unit:?} in duration {text:?}"));
        };
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_e| invalid())? };
        let digits = fraction.get(..fraction.len().min(FRACTION_DIGITS_MAX)).unwrap_or_default();
        let fraction: i128 = if digits.is_empty() { 0 } else { digits.parse().map_err(|_e| invalid())? };
        let whole = whole.checked_mul(*nanos).ok_or_else(invalid)?;
        let part = whole.saturating_add(fraction * nanos / 10_i128.pow(digits.len() as u32));
        total = total.checked_add(part).filter(|t| *t <= i128::from(i64::MAX)).ok_or_else(invalid)?;
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_e| invalid())
}

/// Writes a duration of nanoseconds as Go does.
pub fn format_duration(nanos: i64) -> SmolStr {
    let sign = if nanos < 0 { "-" } else { "" };
    let total = nanos.unsigned_abs();
    let fraction = |value: u64, unit: u64| {
        let text = format!("{}.{:0width$}", value / unit, value % unit, width = unit.ilog10() as usize);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    if total == 0 {
        return SmolStr::new_static("0s");
    }
    match total {
        0..1_000 => format_smolstr!("{sign}{total}ns"),
        1_000..1_000_000 => format_smolstr!("{sign}{}µs", fraction(total, 1_000)),
        1_000_000..1_000_000_000 => format_smolstr!("{sign}{}ms", fraction(total, 1_000_000)),
        _ => {
            let (minutes, rest) = (total / 60_000_000_000, total % 60_000_000_000);
            let seconds = fraction(rest, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format_smolstr!("{sign}{seconds}s"),
                (0, m) => format_smolstr!("{sign}{m}m{seconds}s"),
                (h, m) => format_smolstr!("{sign}{h}h{m}m{seconds}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_gos() {
        for (text, want) in [
            ("0", "0s"),
            ("1h", "1h0m0s"),
            ("90m", "1h30m0s"),
            ("1.5s", "1.5s"),
            ("100ms", "100ms"),
            ("1500us", "1.5ms"),
            ("-2m3.25s", "-2m3.25s"),
            (".5h", "30m0s"),
            ("1h2m3s4ms", "1h2m3.004s"),
            ("17ns", "17ns"),
        ] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), want, "{text}");
        }
        assert_eq!(parse_duration("1").unwrap_err(), r#"time: missing unit in duration "1""#);
        assert_eq!(parse_duration("1x").unwrap_err(), r#"time: unknown unit "x" in duration "1x""#);
        assert_eq!(parse_duration("").unwrap_err(), r#"time: invalid duration """#);
    }

    proptest! {
        #[test]
        fn every_duration_reads_back(nanos in any::<i64>()) {
            prop_assume!(nanos != i64::MIN);
            prop_assert_eq!(parse_duration(&format_duration(nanos)).unwrap(), nanos);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[-+]?[0-9.]{0,30}[nuµmsh]{0,2}[0-9.]{0,20}[hms]?|.{0,20}") {
            drop(parse_duration(&text));
        }
    }
}
