//! The audit log's file: one JSON event a line, rotated by size and age as upstream's.
//!
//! One thread writes. It takes everything that waits and writes it at once, then tells all who wait for it: a request is
//! answered after its event is in the file, and many requests share one write.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mainstay_base::lifecycle::Clock;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};

use super::metrics::AuditMetrics;

/// Events that wait to be written; beyond it requests wait.
const QUEUE_MAX: usize = 10_000;
/// Bytes written at once.
const WRITE_BYTES_MAX: usize = 1024 * 1024;
/// The time in the name of a file that was put aside.
const STAMP: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]-[minute]-[second].[subsecond digits:3]");

/// Where events are written, and how long they are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// The file; `-` is standard output.
    pub path: PathBuf,
    /// Bytes after which the file is put aside and a new one begun.
    pub size_bytes_max: u64,
    /// Files put aside that are kept; 0 keeps all.
    pub backups_max: usize,
    /// Days that files put aside are kept; 0 keeps them for ever.
    pub age_days_max: u32,
}

/// A log that cannot be begun.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file.
    #[error("opening the audit log {}", path.display())]
    Open {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The thread that writes.
    #[error("starting the thread of the audit log")]
    Thread(#[source] io::Error),
}

/// An event that could not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unwritten;

struct Line {
    event: Vec<u8>,
    written: Option<oneshot::Sender<bool>>,
}

/// The way to the thread that writes.
pub(super) struct LogWriter {
    lines: mpsc::Sender<Line>,
    metrics: AuditMetrics,
}

impl LogWriter {
    /// Opens the file and starts the thread; it ends with the last sender.
    pub(super) fn start(
        file: LogFile,
        clock: Arc<dyn Clock>,
        metrics: AuditMetrics,
    ) -> Result<Self, LogError> {
        let path = file.path.clone();
        let output = Output::open(file).map_err(|source| LogError::Open { path, source })?;
        let (lines, queue) = mpsc::channel(QUEUE_MAX);
        let counted = metrics.clone();
        std::thread::Builder::new()
            .name("audit-log".to_owned())
            .spawn(move || write_all(queue, output, clock.as_ref(), &counted))
            .map_err(LogError::Thread)?;
        Ok(Self { lines, metrics })
    }

    pub(super) async fn tell(&self, event: Vec<u8>) -> Result<(), Unwritten> {
        let (written, done) = oneshot::channel();
        self.lines.send(Line { event, written: Some(written) }).await.map_err(|_closed| Unwritten)?;
        if done.await.unwrap_or(false) { Ok(()) } else { Err(Unwritten) }
    }

    pub(super) fn tell_now(&self, event: Vec<u8>) {
        if self.lines.try_send(Line { event, written: None }).is_err() {
            self.metrics.errors.with_label_values(&["log"]).inc();
            error!("an audit event is lost: too many wait to be written");
        }
    }
}

fn write_all(mut queue: mpsc::Receiver<Line>, mut output: Output, clock: &dyn Clock, metrics: &AuditMetrics) {
    while let Some(first) = queue.blocking_recv() {
        let mut bytes = Vec::with_capacity(first.event.len() + 1);
        let mut waiting = Vec::new();
        let mut events = 0;
        let mut next = Some(first);
        while let Some(line) = next {
            bytes.extend_from_slice(&line.event);
            bytes.push(b'\n');
            waiting.extend(line.written);
            events += 1;
            next = if bytes.len() < WRITE_BYTES_MAX { queue.try_recv().ok() } else { None };
        }
        let written = output.write(&bytes, clock.wall());
        if let Err(why) = &written {
            metrics.errors.with_label_values(&["log"]).inc_by(events);
            error!(error = %why, events, "audit events cannot be written");
        }
        for one in waiting {
            // A client that went away does not wait any more.
            let _gone = one.send(written.is_ok());
        }
    }
}

enum Output {
    Stdout,
    File { file: File, bytes: u64, settings: LogFile },
}

impl Output {
    fn open(settings: LogFile) -> io::Result<Self> {
        if settings.path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        let file = append(&settings.path)?;
        let bytes = file.metadata()?.len();
        Ok(Self::File { file, bytes, settings })
    }

    fn write(&mut self, lines: &[u8], now: OffsetDateTime) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(lines)?;
                out.flush()
            }
            Self::File { file, bytes, settings } => {
                if *bytes > 0 && *bytes + lines.len() as u64 > settings.size_bytes_max {
                    *file = rotate(settings, now)?;
                    *bytes = 0;
                }
                file.write_all(lines)?;
                *bytes += lines.len() as u64;
                Ok(())
            }
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Puts the file aside under a name with the time, begins a new one, and removes what is too old or too many.
fn rotate(settings: &LogFile, now: OffsetDateTime) -> io::Result<File> {
    let stamp = now.format(STAMP).map_err(io::Error::other)?;
    let (start, end) = around(&settings.path);
    fs::rename(&settings.path, settings.path.with_file_name(format!("{start}{stamp}{end}")))?;
    let file = append(&settings.path)?;
    if let Err(why) = remove_old(settings, now) {
        warn!(error = %why, "old audit logs cannot be removed");
    }
    Ok(file)
}

/// What stands before and after the time in the name of a file that was put aside.
fn around(path: &Path) -> (String, String) {
    let part = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let end = path.extension().map_or_else(String::new, |end| format!(".{}", end.to_string_lossy()));
    (format!("{}-", part(path.file_stem())), end)
}

fn remove_old(settings: &LogFile, now: OffsetDateTime) -> io::Result<()> {
    let dir =
        settings.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let (start, end) = around(&settings.path);
    let mut aside: Vec<(String, PathBuf)> = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(stamp) = name.strip_prefix(&start).and_then(|rest| rest.strip_suffix(end.as_str()))
            && time::PrimitiveDateTime::parse(stamp, STAMP).is_ok()
        {
            aside.push((stamp.to_owned(), entry.path()));
        }
    }
    aside.sort();
    aside.reverse();
    let oldest = now - time::Duration::days(settings.age_days_max.into());
    for (at, (stamp, path)) in aside.iter().enumerate() {
        let is_old = settings.age_days_max > 0
            && time::PrimitiveDateTime::parse(stamp, STAMP).is_ok_and(|made| made.assume_utc() < oldest);
        if is_old || (settings.backups_max > 0 && at >= settings.backups_max) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_full_file_is_put_aside_and_old_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let settings = LogFile {
            path: dir.path().join("audit.log"),
            size_bytes_max: 10,
            backups_max: 2,
            age_days_max: 30,
        };
        fs::write(dir.path().join("audit-notes.log"), "not ours").unwrap();
        let mut output = Output::open(settings).unwrap();
        let start = datetime!(2026-01-01 10:00 UTC);
        for day in 0..5_i64 {
            output.write(format!("line {day}\n").as_bytes(), start + time::Duration::days(day)).unwrap();
        }
        let mut names: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "audit-2026-01-04T10-00-00.000.log",
                "audit-2026-01-05T10-00-00.000.log",
                "audit-notes.log",
                "audit.log"
            ]
        );
        assert_eq!(fs::read_to_string(dir.path().join("audit.log")).unwrap(), "line 4\n");
        output.write(b"later\n", start + time::Duration::days(90)).unwrap();
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            3,
            "both aside were older than 30 days but the newest"
        );
    }
}
