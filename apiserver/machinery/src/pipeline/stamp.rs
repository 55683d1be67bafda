//! Times as they stand in objects.

use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// A time as metav1.Time shows it: RFC 3339, UTC, whole seconds.
pub fn timestamp(time: OffsetDateTime) -> String {
    let time = time.to_offset(UtcOffset::UTC);
    let (date, clock) = (time.date(), time.time());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        clock.hour(),
        clock.minute(),
        clock.second()
    )
}

/// Reads a time of either form.
pub fn parse_timestamp(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_in_utc_and_read_back() {
        let time = parse_timestamp("2026-03-01T01:02:03.456789+01:00").unwrap();
        assert_eq!(timestamp(time), "2026-03-01T00:02:03Z");
        assert_eq!(parse_timestamp("soon"), None);
    }
}
