//! One line of a CRI log file: `<RFC 3339 time> <stdout|stderr> <tags> <text>`. Parsing is total.

use k8s_openapi::jiff::Timestamp;

/// Which stream a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogStream {
    Stdout,
    Stderr,
}

/// A parsed line; it borrows the file's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogLine<'a> {
    /// As written, for `timestamps=true`.
    pub time: &'a str,
    pub stream: LogStream,
    /// The text goes on in the next line of the same stream.
    pub partial: bool,
    /// Without the line's end.
    pub body: &'a [u8],
}

impl LogLine<'_> {
    /// The text as the container wrote it: with its line end unless it is a part.
    pub(crate) fn text(&self) -> Vec<u8> {
        let mut text = self.body.to_vec();
        if !self.partial {
            text.push(b'\n');
        }
        text
    }

    /// When it was written.
    pub(crate) fn at(&self) -> Option<Timestamp> {
        self.time.parse().ok()
    }
}

/// Parses one line, with or without its end; `None` for anything else.
pub(crate) fn parse(line: &[u8]) -> Option<LogLine<'_>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut parts = line.splitn(4, |b| *b == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stream = match parts.next()? {
        b"stdout" => LogStream::Stdout,
        b"stderr" => LogStream::Stderr,
        _ => return None,
    };
    let tags = parts.next()?;
    let partial = match tags.split(|b| *b == b':').next()? {
        b"P" => true,
        b"F" => false,
        _ => return None,
    };
    Some(LogLine { time, stream, partial, body: parts.next().unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_and_partial_lines() {
        let line = parse(b"2024-01-02T03:04:05.000000001Z stdout F a b\n").unwrap();
        assert_eq!((line.stream, line.partial, line.body), (LogStream::Stdout, false, &b"a b"[..]));
        assert_eq!(line.text(), b"a b\n");
        let part = parse(b"2024-01-02T03:04:05Z stderr P x").unwrap();
        assert_eq!((part.stream, part.text()), (LogStream::Stderr, b"x".to_vec()));
        assert_eq!(parse(b"2024-01-02T03:04:05Z stdout F \n").unwrap().text(), b"\n");
    }

    #[test]
    fn anything_else_is_not_a_line() {
        for bad in [&b""[..], b"x", b"t stdin F x", b"t stdout Q x", b"\xff stdout F x", b"t stdout"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
