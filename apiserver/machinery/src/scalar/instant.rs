//! RFC 3339 times as Go reads and writes them.

use smol_str::SmolStr;

/// A point in time: seconds since 1970 (UTC) and the nanoseconds within the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

impl Instant {
    /// Go's zero time, which upstream writes as null.
    pub const ZERO: Self = Self { seconds: -62_135_596_800, nanos: 0 };
    /// The last second of the year 9999, beyond which there is no RFC 3339 text.
    pub const SECONDS_MAX: i64 = 253_402_300_799;
    /// The first second of the year 0.
    pub const SECONDS_MIN: i64 = -62_167_219_200;

    /// Whether RFC 3339 can tell this time.
    pub fn is_writable(self) -> bool {
        (Self::SECONDS_MIN..=Self::SECONDS_MAX).contains(&self.seconds) && self.nanos < 1_000_000_000
    }
}

const LAYOUT: &str = "2006-01-02T15:04:05Z07:00";
const MICRO_LAYOUT: &str = "2006-01-02T15:04:05.000000Z07:00";

/// Days from 1970-01-01 to a day of the proleptic Gregorian calendar.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a number of days since 1970-01-01.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days - era * 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

const fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Reads a text piece by piece along a layout.
struct Reader<'a> {
    whole: &'a str,
    rest: &'a str,
    layout: &'static str,
}

impl Reader<'_> {
    fn fail<T>(&self, expected: &str) -> Result<T, String> {
        Err(format!(
            "parsing time \"{}\" as \"{}\": cannot parse \"{}\" as \"{expected}\"",
            self.whole, self.layout, self.rest
        ))
    }

    fn out_of_range<T>(&self, what: &str) -> Result<T, String> {
        Err(format!("parsing time \"{}\": {what} out of range", self.whole))
    }

    fn literal(&mut self, text: &str) -> Result<(), String> {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None => self.fail(text),
        }
    }

    fn digits(&mut self, count: usize, name: &str) -> Result<i64, String> {
        match self.rest.as_bytes().get(..count) {
            Some(digits) if digits.iter().all(u8::is_ascii_digit) => {
                self.rest = self.rest.get(count..).unwrap_or_default();
                Ok(digits.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0')))
            }
            _ => self.fail(name),
        }
    }

    /// Takes up digits, as nanoseconds.
    fn fraction(&mut self, count: usize) -> u32 {
        let digits: &[u8] = self.rest.as_bytes().get(..count).unwrap_or_default();
        let nanos = (0..9).fold(0, |n, at| n * 10 + u32::from(digits.get(at).map_or(0, |d| d - b'0')));
        self.rest = self.rest.get(count..).unwrap_or_default();
        nanos
    }

    fn digit_run(text: &str) -> usize {
        text.bytes().take_while(u8::is_ascii_digit).count()
    }

    /// `Z` or `+hh:mm`, in seconds.
    fn zone(&mut self) -> Result<i64, String> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(0);
        }
        let bytes = self.rest.as_bytes();
        let digit = |at: usize| bytes.get(at).filter(|b| b.is_ascii_digit()).map(|b| i64::from(b - b'0'));
        let sign = match bytes.first() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return self.fail("Z07:00"),
        };
        let (Some(h1), Some(h2), Some(b':'), Some(m1), Some(m2)) =
            (digit(1), digit(2), bytes.get(3), digit(4), digit(5))
        else {
            return self.fail("Z07:00");
        };
        let (hours, minutes) = (h1 * 10 + h2, m1 * 10 + m2);
        if hours > 24 || minutes > 60 {
            return self.out_of_range(if hours > 24 {
                "time zone offset hour"
            } else {
                "time zone offset minute"
            });
        }
        self.rest = self.rest.get(6..).unwrap_or_default();
        Ok(sign * (hours * 3600 + minutes * 60))
    }
}

fn parse(text: &str, layout: &'static str) -> Result<Instant, String> {
    let mut r = Reader { whole: text, rest: text, layout };
    let year = r.digits(4, "2006")?;
    r.literal("-")?;
    let month = r.digits(2, "01")?;
    if !(1..=12).contains(&month) {
        return r.out_of_range("month");
    }
    r.literal("-")?;
    let day = r.digits(2, "02")?;
    r.literal("T")?;
    let hour = r.digits(2, "15")?;
    if hour > 23 {
        return r.out_of_range("hour");
    }
    r.literal(":")?;
    let minute = r.digits(2, "04")?;
    if minute > 59 {
        return r.out_of_range("minute");
    }
    r.literal(":")?;
    let second = r.digits(2, "05")?;
    if second > 59 {
        return r.out_of_range("second");
    }
    let micro = layout == MICRO_LAYOUT;
    let run = r.rest.strip_prefix(['.', ',']).map(Reader::digit_run);
    let nanos = match run {
        Some(run) if micro && run >= 6 => {
            r.rest = r.rest.get(1..).unwrap_or_default();
            r.fraction(6)
        }
        _ if micro => return r.fail(".000000"),
        Some(run) if run > 0 => {
            r.rest = r.rest.get(1..).unwrap_or_default();
            r.fraction(run)
        }
        _ => 0,
    };
    let offset = r.zone()?;
    if !r.rest.is_empty() {
        return Err(format!("parsing time \"{text}\": extra text: \"{}\"", r.rest));
    }
    if day < 1 || day > days_in_month(year, month) {
        return r.out_of_range("day");
    }
    let seconds = days_of(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    let instant = Instant { seconds, nanos };
    if instant.is_writable() { Ok(instant) } else { r.out_of_range("year") }
}

/// Reads a `metav1.Time`; upstream's error text.
pub fn parse_time(text: &str) -> Result<Instant, String> {
    parse(text, LAYOUT)
}

/// Reads a `metav1.MicroTime`, which must have six digits of fraction; upstream's error text.
pub fn parse_micro_time(text: &str) -> Result<Instant, String> {
    parse(text, MICRO_LAYOUT)
}

fn digits(out: &mut [u8], mut value: u32) {
    for slot in out.iter_mut().rev() {
        *slot = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// `2006-01-02T15:04:05` in the first 19 bytes.
fn write(out: &mut [u8; 27], seconds: i64) {
    let (year, month, day) = date_of(seconds.div_euclid(86_400));
    let of_day = seconds.rem_euclid(86_400) as u32;
    out.copy_from_slice(b"0000-00-00T00:00:00.000000Z");
    for (at, len, value) in [
        (0, 4, year as u32),
        (5, 2, month as u32),
        (8, 2, day as u32),
        (11, 2, of_day / 3600),
        (14, 2, of_day / 60 % 60),
        (17, 2, of_day % 60),
    ] {
        if let Some(slot) = out.get_mut(at..at + len) {
            digits(slot, value);
        }
    }
}

fn text(bytes: &[u8]) -> SmolStr {
    // The bytes are digits and punctuation, so the conversion cannot lose anything.
    SmolStr::new(String::from_utf8_lossy(bytes))
}

fn time_bytes(time: Instant) -> [u8; 20] {
    let mut long = [0; 27];
    write(&mut long, time.seconds.clamp(Instant::SECONDS_MIN, Instant::SECONDS_MAX));
    let mut out = [b'Z'; 20];
    out[..19].copy_from_slice(&long[..19]);
    out
}

/// Writes a `metav1.Time`. Times beyond the years 0 to 9999 are written as the nearest one within.
pub fn format_time(time: Instant) -> SmolStr {
    text(&time_bytes(time))
}

/// As [`format_time`], appended.
pub fn append_time(time: Instant, out: &mut Vec<u8>) {
    out.extend_from_slice(&time_bytes(time));
}

/// Writes a `metav1.MicroTime`. Times beyond the years 0 to 9999 are written as the nearest one within.
pub fn format_micro_time(time: Instant) -> SmolStr {
    text(&micro_time_bytes(time))
}

/// As [`format_micro_time`], appended.
pub fn append_micro_time(time: Instant, out: &mut Vec<u8>) {
    out.extend_from_slice(&micro_time_bytes(time));
}

fn micro_time_bytes(time: Instant) -> [u8; 27] {
    let mut out = [0; 27];
    write(&mut out, time.seconds.clamp(Instant::SECONDS_MIN, Instant::SECONDS_MAX));
    digits(&mut out[20..26], time.nanos / 1000);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_read_in_any_zone_and_written_in_utc() {
        for (text, want) in [
            ("2026-11-22T15:42:39Z", "2026-11-22T15:42:39Z"),
            ("2024-02-29T23:30:00.123456789-01:30", "2024-03-01T01:00:00Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(format_time(parse_time(text).unwrap()), want);
        }
        assert_eq!(parse_time("0001-01-01T00:00:00Z"), Ok(Instant::ZERO));
        let micro = parse_micro_time("2026-01-01T00:00:00.123456Z").unwrap();
        assert_eq!(format_micro_time(micro), "2026-01-01T00:00:00.123456Z");
    }

    #[test]
    fn errors_are_gos() {
        for (text, want) in [
            ("", r#"parsing time "" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "2006""#),
            ("2020-13-01T00:00:00Z", r#"parsing time "2020-13-01T00:00:00Z": month out of range"#),
            ("2023-02-29T00:00:00Z", r#"parsing time "2023-02-29T00:00:00Z": day out of range"#),
            (
                "2020-01-01",
                r#"parsing time "2020-01-01" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T""#,
            ),
            ("2020-01-01T00:00:00Zx", r#"parsing time "2020-01-01T00:00:00Zx": extra text: "x""#),
        ] {
            assert_eq!(parse_time(text).unwrap_err(), want);
        }
        assert_eq!(
            parse_micro_time("2020-01-01T00:00:00Z").unwrap_err(),
            r#"parsing time "2020-01-01T00:00:00Z" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "Z" as ".000000""#
        );
    }

    proptest! {
        #[test]
        fn every_second_reads_back(seconds in Instant::SECONDS_MIN..=Instant::SECONDS_MAX, micros in 0_u32..1_000_000) {
            let time = Instant { seconds, nanos: micros * 1000 };
            prop_assert_eq!(parse_micro_time(&format_micro_time(time)).unwrap(), time);
            prop_assert_eq!(parse_time(&format_time(time)).unwrap().seconds, seconds);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9TZ:.+-]{0,40}|.{0,40}") {
            drop((parse_time(&text), parse_micro_time(&text)));
        }
    }
}
