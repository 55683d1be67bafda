//! The last words of a container: from its termination message file, or from the end of its log.

use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use mainstay_proto_wire::cri::v1;

use crate::names::{self, PodDirs};
use crate::runtime_state::ContainerRecord;
use crate::streams::log_line;

/// Upstream's limit of a message.
const MESSAGE_BYTES_MAX: usize = 4096;
/// Upstream's limits of a message taken from the log.
const LOG_BYTES_MAX: u64 = 2048;
const LOG_LINES_MAX: usize = 80;

/// Where the message of one container may be found.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    file: PathBuf,
    log: Option<PathBuf>,
}

impl Source {
    /// The files of `record`; the log only counts for a failure under `FallbackToLogsOnError`.
    pub(crate) fn of(
        dirs: &PodDirs,
        uid: &str,
        record: &ContainerRecord,
        status: &v1::ContainerStatus,
    ) -> Self {
        let policy = status.annotations.get(names::TERMINATION_MESSAGE_POLICY).map(String::as_str);
        let fallback = policy == Some("FallbackToLogsOnError") && record.exit_code != 0;
        Self {
            file: file(dirs, uid, &record.name, record.restart_count),
            log: (fallback && !record.log_path.is_empty()).then(|| PathBuf::from(&record.log_path)),
        }
    }
}

/// The host's file behind the container's termination message path.
pub(crate) fn file(dirs: &PodDirs, uid: &str, container: &str, restart_count: u32) -> PathBuf {
    dirs.container(uid, container).join(restart_count.to_string())
}

/// Reads the message; empty when there is none.
pub(crate) async fn read(source: Source) -> String {
    let read = tokio::task::spawn_blocking(move || {
        let own = read_file(&source.file);
        match source.log {
            Some(log) if own.is_empty() => log_end(&log),
            _ => own,
        }
    });
    read.await.unwrap_or_default()
}

/// The container can write here: never follow a link it left.
fn open(path: &Path) -> std::io::Result<std::fs::File> {
    std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

fn read_file(path: &Path) -> String {
    let mut bytes = Vec::new();
    // Most containers leave no message: an absent or unreadable file is an empty one.
    if let Ok(file) = open(path) {
        file.take(MESSAGE_BYTES_MAX as u64).read_to_end(&mut bytes).ok();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn log_end(path: &Path) -> String {
    let Ok(mut file) = open(path) else { return String::new() };
    let size = file.metadata().map_or(0, |m| m.len());
    // Each line carries a time stamp and a tag: read more than the text may be.
    let from = size.saturating_sub(LOG_BYTES_MAX * 4);
    let mut bytes = Vec::new();
    if file.seek(SeekFrom::Start(from)).is_err()
        || file.take(LOG_BYTES_MAX * 4).read_to_end(&mut bytes).is_err()
    {
        return String::new();
    }
    let mut lines = bytes.split_inclusive(|b| *b == b'\n');
    if from > 0 {
        lines.next();
    }
    let text: Vec<Vec<u8>> = lines.filter_map(|line| log_line::parse(line).map(|l| l.text())).collect();
    let kept =
        text.iter().skip(text.len().saturating_sub(LOG_LINES_MAX)).flatten().copied().collect::<Vec<u8>>();
    let cut = kept.len().saturating_sub(usize::try_from(LOG_BYTES_MAX).unwrap_or(usize::MAX));
    String::from_utf8_lossy(kept.get(cut..).unwrap_or_default()).into_owned()
}
