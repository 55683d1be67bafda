//! The CRI log format: `<time> <stdout|stderr> <F|P> <text>`, one line each, and rotation by size so that an endless
//! log cannot fill the disk. A log that cannot be written is dropped, never the container held up.

use super::protocol::LogLimits;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

/// Longest text of one log line; longer output is cut into partial lines.
const LINE_BYTES_MAX: usize = 16 << 10;

/// Which output a line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Stdout => b" stdout ",
            Self::Stderr => b" stderr ",
        }
    }
}

/// Cuts an output into log lines.
#[derive(Debug)]
pub(crate) struct Lines {
    stream: Stream,
    begun: Vec<u8>,
}

impl Lines {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, begun: Vec::new() }
    }

    /// Appends the log form of `bytes` to `out`. An unfinished line waits for its end.
    pub(crate) fn feed(&mut self, bytes: &[u8], now: OffsetDateTime, out: &mut Vec<u8>) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            for part in text.chunks(LINE_BYTES_MAX) {
                if self.begun.len() + part.len() > LINE_BYTES_MAX {
                    self.line(b"P ", now, out);
                }
                self.begun.extend_from_slice(part);
            }
            if ended {
                self.line(b"F ", now, out);
            }
        }
    }

    /// The output has ended: what is left is a line without an end.
    pub(crate) fn finish(&mut self, now: OffsetDateTime, out: &mut Vec<u8>) {
        if !self.begun.is_empty() {
            self.line(b"P ", now, out);
        }
    }

    fn line(&mut self, tag: &[u8], now: OffsetDateTime, out: &mut Vec<u8>) {
        write_time(now, out);
        out.extend_from_slice(self.stream.name());
        out.extend_from_slice(tag);
        out.append(&mut self.begun);
        out.push(b'\n');
    }
}

fn write_time(now: OffsetDateTime, out: &mut Vec<u8>) {
    let (year, month, day) = (now.year(), u8::from(now.month()), now.day());
    let (hour, minute, second, nanosecond) = (now.hour(), now.minute(), now.second(), now.nanosecond());
    // Writing to memory cannot fail.
    let _ok = write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanosecond:09}Z");
}

/// A container's log file with its older ones: `path`, `path.1` (the newest old one) to `path.N`.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    limits: LogLimits,
    file: Option<File>,
    bytes: u64,
}

impl LogFile {
    /// Opens the log for appending; makes its directory.
    pub(crate) fn open(path: &Path, limits: LogLimits) -> std::io::Result<Self> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let mut log = Self { path: path.to_owned(), limits, file: None, bytes: 0 };
        log.reopen()?;
        Ok(log)
    }

    /// Opens the file anew: somebody may have renamed it.
    pub(crate) fn reopen(&mut self) -> std::io::Result<()> {
        self.file = None;
        let file = OpenOptions::new().append(true).create(true).mode(0o640).open(&self.path)?;
        self.bytes = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    /// Writes whole lines.
    pub(crate) fn write(&mut self, lines: &[u8]) -> std::io::Result<()> {
        if self.bytes > 0 && self.bytes + lines.len() as u64 > self.limits.file_bytes_max {
            self.rotate()?;
        }
        if self.file.is_none() {
            self.reopen()?;
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        match file.write_all(lines) {
            Ok(()) => {
                self.bytes += lines.len() as u64;
                Ok(())
            }
            Err(error) => {
                // A part may be there: look again before the next line.
                self.bytes = file.metadata().map_or(self.bytes, |found| found.len());
                Err(error)
            }
        }
    }

    fn old(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }

    fn rotate(&mut self) -> std::io::Result<()> {
        let olds = self.limits.files_max.saturating_sub(1);
        if olds == 0 {
            if let Some(file) = &self.file {
                file.set_len(0)?;
            }
            self.bytes = 0;
            return Ok(());
        }
        for number in (1..olds).rev() {
            match std::fs::rename(self.old(number), self.old(number + 1)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&self.path, self.old(1))?;
        self.reopen()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(chunks: &[&[u8]]) -> String {
        let now = OffsetDateTime::from_unix_timestamp_nanos(1_700_000_000_000_000_007).unwrap();
        let (mut lines, mut out) = (Lines::new(Stream::Stdout), Vec::new());
        for chunk in chunks {
            lines.feed(chunk, now, &mut out);
        }
        lines.finish(now, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_have_time_stream_and_tag() {
        let text = logged(&[b"one\ntw", b"o\n\nrest"]);
        let time = "2023-11-14T22:13:20.000000007Z stdout";
        assert_eq!(text, format!("{time} F one\n{time} F two\n{time} F \n{time} P rest\n"));
    }

    #[test]
    fn long_line_is_cut_into_partial_ones_that_join_again() {
        let long = vec![b'x'; 40_000];
        let text = logged(&[&long, b"\n"]);
        let tags: Vec<&str> = text.lines().map(|line| line.split(' ').nth(2).unwrap()).collect();
        assert_eq!(tags, ["P", "P", "F"]);
        let joined: usize = text.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap().len()).sum();
        assert_eq!(joined, 40_000);
    }

    #[test]
    fn endless_log_stays_within_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pod/0.log");
        let mut log = LogFile::open(&path, LogLimits { file_bytes_max: 100, files_max: 3 }).unwrap();
        for number in 0..100 {
            log.write(format!("{number:09}\n").as_bytes()).unwrap();
        }
        let mut files: Vec<_> =
            std::fs::read_dir(dir.path().join("pod")).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        assert_eq!(files.len(), 3);
        assert!(files.iter().all(|file| file.metadata().unwrap().len() <= 100));
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("000000099\n"));
    }

    #[test]
    fn renamed_log_is_left_after_reopen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let mut log = LogFile::open(&path, LogLimits { file_bytes_max: 1000, files_max: 2 }).unwrap();
        log.write(b"old\n").unwrap();
        std::fs::rename(&path, dir.path().join("moved")).unwrap();
        log.reopen().unwrap();
        log.write(b"new\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new\n");
    }
}
