//! The text form of what is read at a scrape. Metrics that the registry keeps are written by its own encoder.
use std::fmt::{Display, Write as _};

use crate::api::Durations;

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    write(text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
}

fn write(text: &mut String, what: std::fmt::Arguments<'_>) {
    if text.write_fmt(what).is_err() {
        tracing::debug!("a string took no text, which it always does");
    }
}

/// One number without labels.
pub(super) fn number(text: &mut String, name: &str, kind: &str, help: &str, value: u64) {
    head(text, name, kind, help);
    write(text, format_args!("{name} {value}\n"));
}

/// A gauge whose value is written already.
pub(super) fn bare(text: &mut String, name: &str, help: &str, value: &str) {
    head(text, name, "gauge", help);
    write(text, format_args!("{name} {value}\n"));
}

/// A number for each set of labels, such as `To="1"`.
pub(super) fn labelled<N: Display>(
    text: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    rows: impl Iterator<Item = (String, N)>,
) {
    head(text, name, kind, help);
    for (labels, value) in rows {
        write(text, format_args!("{name}{{{labels}}} {value}\n"));
    }
}

/// A metric that only names something.
pub(super) fn info(text: &mut String, name: &str, help: &str, (label, value): (&str, &str)) {
    head(text, name, "gauge", help);
    write(text, format_args!("{name}{{{label}=\"{value}\"}} 1\n"));
}

/// Durations for each set of labels, which may be empty.
pub(super) fn histogram(text: &mut String, name: &str, help: &str, rows: &[(&str, &Durations)]) {
    head(text, name, "histogram", help);
    for (labels, durations) in rows {
        let (comma, own) =
            if labels.is_empty() { ("", String::new()) } else { (",", format!("{{{labels}}}")) };
        let mut below = 0;
        for (bound, count) in durations.bounds().zip(&durations.counts) {
            below += count;
            write(text, format_args!("{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {below}\n"));
        }
        let count = durations.count();
        write(text, format_args!("{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}\n"));
        write(
            text,
            format_args!("{name}_sum{own} {}\n{name}_count{own} {count}\n", durations.total.as_secs_f64()),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_histogram_is_cumulative() {
        let durations = Durations {
            first: Duration::from_millis(1),
            counts: vec![2, 0, 1],
            total: Duration::from_millis(1500),
        };
        let mut text = String::new();
        histogram(&mut text, "t", "h", &[("To=\"a\"", &durations)]);
        assert_eq!(
            text,
            "# HELP t h\n# TYPE t histogram\nt_bucket{To=\"a\",le=\"0.001\"} 2\nt_bucket{To=\"a\",le=\"0.002\"} 2\n\
             t_bucket{To=\"a\",le=\"+Inf\"} 3\nt_sum{To=\"a\"} 1.5\nt_count{To=\"a\"} 3\n"
        );
        let mut bare = String::new();
        histogram(&mut bare, "t", "h", &[("", &durations)]);
        assert!(bare.contains("t_bucket{le=\"+Inf\"} 3\nt_sum 1.5\nt_count 3\n"), "{bare}");
    }
}
