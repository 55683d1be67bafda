//! [`Quantity`]: exact resource amounts with upstream's formats and canonical text.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::{SmolStr, format_smolstr};
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// How an amount is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// `1e3`.
    DecimalExponent,
    /// `1Ki`.
    BinarySi,
    /// `1k`.
    #[default]
    DecimalSi,
}

/// Why a text is no quantity; upstream's texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// The text has not the form of a quantity.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The number cannot be read, or is beyond what can be held (about 10^29).
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    /// The suffix is unknown.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

const NANOS: i128 = 1_000_000_000;
/// Amounts with a binary suffix are capped here, as upstream does.
const BINARY_MAX: i128 = i64::MAX as i128 * NANOS;

/// An amount in units of 10^-9, exact, with the format it was written in. Comparison and equality are by amount.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// The parts of a quantity's text.
struct Parts<'a> {
    negative: bool,
    number: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

fn digits_end(text: &str) -> usize {
    text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len())
}

fn split(text: &str) -> Result<Parts<'_>, QuantityError> {
    let (negative, rest) = match text.as_bytes().first() {
        None => return Err(QuantityError::Format),
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        Some(_) => (false, text),
    };
    let (number, rest) = rest.split_at(digits_end(rest));
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits_end(rest)),
        None => ("", rest),
    };
    let letters = suffix.bytes().position(|b| !b"eEinumkKMGTP".contains(&b)).unwrap_or(suffix.len());
    let tail = &suffix[letters..];
    let tail = tail.strip_prefix(['-', '+']).unwrap_or(tail);
    if digits_end(tail) != tail.len() {
        return Err(QuantityError::Format);
    }
    Ok(Parts { negative, number: number.trim_start_matches('0'), fraction, suffix })
}

/// A suffix as (base, exponent, format).
fn interpret(suffix: &str) -> Option<(u32, i32, Format)> {
    Some(match suffix {
        "Ki" => (2, 10, Format::BinarySi),
        "Mi" => (2, 20, Format::BinarySi),
        "Gi" => (2, 30, Format::BinarySi),
        "Ti" => (2, 40, Format::BinarySi),
        "Pi" => (2, 50, Format::BinarySi),
        "Ei" => (2, 60, Format::BinarySi),
        "n" => (10, -9, Format::DecimalSi),
        "u" => (10, -6, Format::DecimalSi),
        "m" => (10, -3, Format::DecimalSi),
        "" => (10, 0, Format::DecimalSi),
        "k" => (10, 3, Format::DecimalSi),
        "M" => (10, 6, Format::DecimalSi),
        "G" => (10, 9, Format::DecimalSi),
        "T" => (10, 12, Format::DecimalSi),
        "P" => (10, 15, Format::DecimalSi),
        "E" => (10, 18, Format::DecimalSi),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            (10, exponent.parse().ok()?, Format::DecimalExponent)
        }
    })
}

fn decimal_suffix(exponent: i32) -> Option<&'static str> {
    Some(match exponent {
        -9 => "n",
        -6 => "u",
        -3 => "m",
        0 => "",
        3 => "k",
        6 => "M",
        9 => "G",
        12 => "T",
        15 => "P",
        18 => "E",
        _ => return None,
    })
}

/// Digits as a number, scaled by 10^`scale`, rounded away from zero.
fn scaled(number: &str, fraction: &str, scale: i32) -> Result<i128, QuantityError> {
    let mut value: i128 = 0;
    let fraction = fraction.trim_end_matches('0');
    for digit in number.bytes().chain(fraction.bytes()) {
        value = value
            .checked_mul(10)
            .and_then(|v| v.checked_add(i128::from(digit - b'0')))
            .ok_or(QuantityError::Numeric)?;
    }
    if value == 0 {
        return Ok(0);
    }
    let fraction_digits = i32::try_from(fraction.len()).map_err(|_e| QuantityError::Numeric)?;
    let scale = scale.saturating_sub(fraction_digits);
    let power = |n: u32| 10_i128.checked_pow(n);
    if scale >= 0 {
        power(scale.unsigned_abs()).and_then(|p| value.checked_mul(p)).ok_or(QuantityError::Numeric)
    } else {
        Ok(power(scale.unsigned_abs()).map_or(1, |p| divide_up(value, p)))
    }
}

/// Divides, rounding away from zero.
const fn divide_up(value: i128, by: i128) -> i128 {
    let quotient = value / by;
    if value % by == 0 {
        quotient
    } else if value < 0 {
        quotient - 1
    } else {
        quotient + 1
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let parts = split(text)?;
        let (base, exponent, mut format) = interpret(parts.suffix).ok_or(QuantityError::Suffix)?;
        let mut nanos = if base == 10 {
            scaled(parts.number, parts.fraction, exponent.saturating_add(9))?
        } else {
            // Binary: scale the unit first, then round once.
            let unit = 1_i128 << exponent;
            let digits = parts.fraction.trim_end_matches('0');
            let whole = scaled(parts.number, digits, i32::try_from(digits.len()).unwrap_or(i32::MAX))?;
            let denominator = 10_i128.checked_pow(digits.len() as u32).ok_or(QuantityError::Numeric)?;
            let capped = whole.checked_mul(unit).and_then(|v| v.checked_mul(NANOS));
            capped.map_or(BINARY_MAX, |v| divide_up(v, denominator).min(BINARY_MAX))
        };
        if format == Format::BinarySi && nanos > 0 && nanos < NANOS {
            format = Format::DecimalSi;
        }
        if parts.negative {
            nanos = -nanos;
        }
        Ok(Self { nanos, format })
    }
}

impl Quantity {
    /// A whole amount.
    pub const fn new(value: i64, format: Format) -> Self {
        Self { nanos: value as i128 * NANOS, format }
    }

    /// An amount in thousandths, as CPU is counted.
    pub const fn from_milli(value: i64) -> Self {
        Self { nanos: value as i128 * 1_000_000, format: Format::DecimalSi }
    }

    /// An amount in bytes, written with binary suffixes.
    pub const fn from_bytes(value: i64) -> Self {
        Self::new(value, Format::BinarySi)
    }

    /// The text that upstream would store for `text`: canonical, except for the few forms that it keeps as written.
    pub fn canonical_text(text: &str) -> Result<SmolStr, QuantityError> {
        let quantity: Self = text.parse()?;
        if text == "0" || keeps_text(text)? { Ok(SmolStr::new(text)) } else { Ok(quantity.text()) }
    }

    /// The canonical text.
    pub fn text(&self) -> SmolStr {
        if self.nanos == 0 {
            return SmolStr::new_static("0");
        }
        let kib = 1024 * NANOS;
        let binary = self.format == Format::BinarySi && self.nanos.abs() >= kib && self.nanos % NANOS == 0;
        if binary {
            let mut value = self.nanos / NANOS;
            let mut step = 0;
            while value % 1024 == 0 && step < 6 {
                value /= 1024;
                step += 1;
            }
            let suffix = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].get(step).copied().unwrap_or_default();
            return format_smolstr!("{value}{suffix}");
        }
        let (mut value, mut exponent) = (self.nanos, -9);
        while value % 1000 == 0 {
            value /= 1000;
            exponent += 3;
        }
        match decimal_suffix(exponent) {
            Some(suffix) if self.format != Format::DecimalExponent || exponent == 0 => {
                format_smolstr!("{value}{suffix}")
            }
            _ => format_smolstr!("{value}e{exponent}"),
        }
    }

    /// The format it is written in.
    pub const fn format(&self) -> Format {
        self.format
    }

    /// The amount in units of 10^-9.
    pub const fn nanos(&self) -> i128 {
        self.nanos
    }

    /// The amount rounded up to whole units, capped to an i64.
    pub fn value(&self) -> i64 {
        clamp(divide_up(self.nanos, NANOS))
    }

    /// The amount rounded up to thousandths, capped to an i64.
    pub fn milli_value(&self) -> i64 {
        clamp(divide_up(self.nanos, 1_000_000))
    }

    /// The amount as a float, for scoring and metrics only.
    pub fn as_f64(&self) -> f64 {
        self.nanos as f64 / NANOS as f64
    }

    /// Whether the amount is zero.
    pub const fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// Whether the amount is below zero.
    pub const fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    /// Whether the amount is a whole number of units.
    pub const fn is_whole(&self) -> bool {
        self.nanos % NANOS == 0
    }

    /// Rounded up (away from zero) to thousandths, as upstream does with every entry of a `ResourceList`.
    #[must_use]
    pub const fn rounded_to_milli(self) -> Self {
        Self { nanos: divide_up(self.nanos, 1_000_000) * 1_000_000, format: self.format }
    }

    /// The sum; a zero takes the other's format. Saturates at about 10^29.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Self { nanos: self.nanos.saturating_add(other.nanos), format }
    }

    /// The difference; a zero takes the other's format. Saturates at about 10^29.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Self { nanos: self.nanos.saturating_sub(other.nanos), format }
    }

    /// The product with a whole number. Saturates at about 10^29.
    #[must_use]
    pub const fn times(self, factor: i64) -> Self {
        Self { nanos: self.nanos.saturating_mul(factor as i128), format: self.format }
    }
}

/// Whether upstream's parser keeps the text as written instead of making it canonical.
fn keeps_text(text: &str) -> Result<bool, QuantityError> {
    const DIGITS_MAX: i64 = 18;
    let parts = split(text)?;
    let (_, exponent, format) = interpret(parts.suffix).ok_or(QuantityError::Suffix)?;
    let number = if parts.number.is_empty() { "0" } else { parts.number };
    let (number_len, fraction_len) = (number.len() as i64, parts.fraction.len() as i64);
    if format == Format::BinarySi {
        let precision = 15 - number_len - i64::from(exponent) * 3 / 10 - 1;
        let low_bits = number.parse::<i64>().is_ok_and(|v| v & 7 != 0);
        return Ok(parts.fraction.is_empty() && precision >= 0 && low_bits);
    }
    let scale = i64::from(exponent) - fraction_len;
    let fits = number_len + fraction_len <= DIGITS_MAX && scale >= -9;
    let trailing_zeros =
        number.bytes().chain(parts.fraction.bytes()).rev().take(3).filter(|b| *b == b'0').count();
    let ends_in_three_zeros = trailing_zeros == 3;
    Ok(fits && scale % 3 == 0 && !ends_in_three_zeros && !number.starts_with('0'))
}

fn clamp(value: i128) -> i64 {
    value.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl std::hash::Hash for Quantity {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.nanos.hash(state);
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text())
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Quantity;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity")
            }
            fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<Quantity, E> {
                v.trim().parse().map_err(E::custom)
            }
            fn visit_i64<E: serde::de::Error>(self, v: i64) -> Result<Quantity, E> {
                Ok(Quantity::new(v, Format::DecimalSi))
            }
            fn visit_u64<E: serde::de::Error>(self, v: u64) -> Result<Quantity, E> {
                self.visit_str(&v.to_string())
            }
            fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<Quantity, E> {
                self.visit_str(&v.to_string())
            }
        }
        deserializer.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(text: &str) -> String {
        Quantity::canonical_text(text).map_or_else(|e| format!("error: {e}"), |t| t.to_string())
    }

    #[test]
    fn canonical_forms_are_upstreams() {
        for (text, want) in [
            ("0", "0"),
            ("0.0", "0"),
            ("1000m", "1"),
            ("0.5", "500m"),
            ("100m", "100m"),
            ("1024Mi", "1Gi"),
            ("1500Mi", "1500Mi"),
            ("1000", "1k"),
            ("1e3", "1e3"),
            ("1E3", "1E3"),
            ("1000e0", "1e3"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("1Ei", "1Ei"),
            ("-1000m", "-1"),
            ("1.500", "1.500"),
            ("0.0000000001", "1n"),
            ("9223372036854775807", "9223372036854775807"),
            ("100Ei", "9223372036854775807"),
            ("1.", "1."),
            (".5", "500m"),
            ("12e6", "12e6"),
            ("1000E", "1e21"),
            ("128974848", "128974848"),
            ("123Mi", "123Mi"),
            ("0.1Ki", "102400m"),
        ] {
            assert_eq!(canonical(text), want, "{text}");
        }
    }

    #[test]
    fn bad_texts_are_refused_with_upstreams_reason() {
        for (text, want) in [
            ("", QuantityError::Format),
            ("1 ", QuantityError::Format),
            ("1mm", QuantityError::Suffix),
            ("abc", QuantityError::Format),
            ("1.2.3", QuantityError::Format),
            ("1e", QuantityError::Suffix),
            ("1k5", QuantityError::Suffix),
            ("1i", QuantityError::Suffix),
            ("1e99999999999", QuantityError::Suffix),
        ] {
            assert_eq!(text.parse::<Quantity>(), Err(want), "{text}");
        }
    }

    #[test]
    fn arithmetic_is_exact() {
        let q = |t: &str| t.parse::<Quantity>().unwrap();
        assert_eq!(q("100m").plus(q("900m")).text(), "1");
        assert_eq!(q("1Gi").minus(q("512Mi")).text(), "512Mi");
        assert_eq!((q("1500m").value(), q("1500u").milli_value()), (2, 2));
        assert!(q("1Gi") > q("1G") && q("1") == q("1000m"));
        assert_eq!(Quantity::default().plus(q("1Mi")).text(), "1Mi");
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "[+-]?[0-9.]{0,40}[eEinumkKMGTP]{0,3}[-+]?[0-9]{0,12}") {
            if let Ok(q) = text.parse::<Quantity>() {
                let again: Quantity = q.text().parse().unwrap();
                prop_assert_eq!(again, q);
                prop_assert_eq!(again.text(), q.text());
            }
        }
    }
}
