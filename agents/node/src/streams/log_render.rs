//! From lines of a log file to what a client asked to see. Pure.

use k8s_openapi::jiff::Timestamp;

use super::log_line::{self, LogStream};

/// What a client asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LogOptions {
    pub follow: bool,
    pub previous: bool,
    pub timestamps: bool,
    pub tail_lines: Option<u64>,
    pub since: Option<Timestamp>,
    pub limit_bytes: Option<u64>,
    pub stream: Option<LogStream>,
}

/// Renders lines one after the other and counts what was given out.
#[derive(Debug)]
pub(crate) struct Renderer {
    options: LogOptions,
    left: u64,
    /// The last rendered line goes on: its time is not repeated.
    inside: bool,
}

impl Renderer {
    /// Nothing was rendered yet.
    pub(crate) fn new(options: LogOptions) -> Self {
        let left = options.limit_bytes.unwrap_or(u64::MAX);
        Self { options, left, inside: false }
    }

    /// Appends what the client sees of `line`. False when the byte limit is reached.
    pub(crate) fn line(&mut self, line: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(line) = log_line::parse(line) else { return true };
        if self.options.stream.is_some_and(|wanted| wanted != line.stream) {
            return true;
        }
        if let Some(since) = self.options.since
            && line.at().is_some_and(|at| at < since)
        {
            return true;
        }
        let mut text = Vec::with_capacity(line.body.len() + 1);
        if self.options.timestamps && !self.inside {
            text.extend_from_slice(line.time.as_bytes());
            text.push(b' ');
        }
        self.inside = line.partial;
        text.extend_from_slice(line.body);
        if !line.partial {
            text.push(b'\n');
        }
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(text.len());
        out.extend_from_slice(text.get(..room).unwrap_or_default());
        self.left -= room as u64;
        self.left > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2024-01-01T00:00:01Z stdout F one\n2024-01-01T00:00:02Z stderr F two\nbroken line\n\
                       2024-01-01T00:00:03Z stdout P thr\n2024-01-01T00:00:04Z stdout F ee\n";

    fn render(options: LogOptions) -> String {
        let mut renderer = Renderer::new(options);
        let mut out = Vec::new();
        for line in LOG.split_inclusive('\n') {
            if !renderer.line(line.as_bytes(), &mut out) {
                break;
            }
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn options_choose_what_is_shown() {
        assert_eq!(render(LogOptions::default()), "one\ntwo\nthree\n");
        assert_eq!(
            render(LogOptions { timestamps: true, ..LogOptions::default() }),
            "2024-01-01T00:00:01Z one\n2024-01-01T00:00:02Z two\n2024-01-01T00:00:03Z three\n"
        );
        let since = Some("2024-01-01T00:00:02Z".parse().unwrap());
        assert_eq!(render(LogOptions { since, ..LogOptions::default() }), "two\nthree\n");
        assert_eq!(render(LogOptions { limit_bytes: Some(6), ..LogOptions::default() }), "one\ntw");
        assert_eq!(render(LogOptions { stream: Some(LogStream::Stderr), ..LogOptions::default() }), "two\n");
    }
}
