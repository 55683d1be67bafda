//! Reads a container's log files in order, and waits for more with inotify when it is followed.

use std::io::SeekFrom;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::fs::File;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::{mpsc, watch};

use super::log_render::{LogOptions, Renderer};

const CHUNK_BYTES: usize = 32 << 10;
/// A line longer than this is given out in parts.
const LINE_BYTES_MAX: usize = 1 << 20;

/// A log that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{what} {path}: {source}")]
pub(crate) struct LogError {
    what: &'static str,
    path: PathBuf,
    source: std::io::Error,
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> LogError {
    let path = path.to_path_buf();
    move |source| LogError { what, path, source }
}

/// The files of a log, oldest first: what rotation has put aside, then the current one.
async fn files(current: &Path) -> Vec<PathBuf> {
    let (Some(dir), Some(name)) = (current.parent(), current.file_name().and_then(|n| n.to_str())) else {
        return vec![current.to_path_buf()];
    };
    let prefix = format!("{name}.");
    let mut rotated: Vec<(u32, PathBuf)> = Vec::new();
    if let Ok(mut entries) = tokio::fs::read_dir(dir).await {
        while let Ok(Some(entry)) = entries.next_entry().await {
            let own = entry.file_name().to_string_lossy().into_owned();
            // `.1` is the newest of those put aside.
            if let Some(age) = own.strip_prefix(&prefix).and_then(|n| n.parse().ok()) {
                rotated.push((age, entry.path()));
            }
        }
    }
    rotated.sort_by_key(|(age, _)| std::cmp::Reverse(*age));
    rotated.into_iter().map(|(_, path)| path).chain([current.to_path_buf()]).collect()
}

/// Where to begin for the last `lines` lines: the index of the file and the offset in it.
async fn tail(files: &[PathBuf], lines: u64) -> Result<(usize, u64), LogError> {
    let mut wanted = lines;
    if wanted == 0 {
        let last = files.len().saturating_sub(1);
        let size = match files.last() {
            Some(path) => tokio::fs::metadata(path).await.map_or(0, |m| m.len()),
            None => 0,
        };
        return Ok((last, size));
    }
    for (index, path) in files.iter().enumerate().rev() {
        let mut file = File::open(path).await.map_err(failed("opening", path))?;
        let mut at = file.metadata().await.map_err(failed("reading", path))?.len();
        let mut last = true;
        while at > 0 {
            let from = at.saturating_sub(CHUNK_BYTES as u64);
            let mut chunk = vec![0; usize::try_from(at - from).unwrap_or(CHUNK_BYTES)];
            file.seek(SeekFrom::Start(from)).await.map_err(failed("seeking in", path))?;
            file.read_exact(&mut chunk).await.map_err(failed("reading", path))?;
            for (offset, byte) in chunk.iter().enumerate().rev() {
                if *byte != b'\n' {
                    last = false;
                    continue;
                }
                // The line end at the very end closes the last line, it does not begin another.
                if std::mem::take(&mut last) {
                    continue;
                }
                wanted -= 1;
                if wanted == 0 {
                    return Ok((index, from + offset as u64 + 1));
                }
            }
            at = from;
        }
        if !last || index == 0 {
            wanted = wanted.saturating_sub(1);
        }
        if wanted == 0 {
            return Ok((index, 0));
        }
    }
    Ok((0, 0))
}

/// Sends the log to `out`; with `follow` until `running` turns false and the end is reached, or the client is gone.
pub(crate) async fn read(
    current: PathBuf,
    options: LogOptions,
    mut running: watch::Receiver<bool>,
    out: mpsc::Sender<Bytes>,
) -> Result<(), LogError> {
    // The watch is older than the first read: nothing falls between them.
    let changes = if options.follow { Some(Changes::new(&current)?) } else { None };
    let files = files(&current).await;
    let (first, offset) = match options.tail_lines {
        Some(lines) => tail(&files, lines).await?,
        None => (0, 0),
    };
    let mut pump = Pump { renderer: Renderer::new(options), out, line: Vec::new() };
    let mut offset = Some(offset);
    let mut open = None;
    for path in files.get(first..).unwrap_or_default() {
        let mut file = File::open(path).await.map_err(failed("opening", path))?;
        if let Some(offset) = offset.take() {
            file.seek(SeekFrom::Start(offset)).await.map_err(failed("seeking in", path))?;
        }
        if !pump.drain(&mut file, path).await? {
            return Ok(());
        }
        open = Some(file);
    }
    let (Some(changes), Some(mut file)) = (changes, open) else {
        pump.finish().await;
        return Ok(());
    };
    loop {
        let alive = *running.borrow_and_update();
        if !pump.drain(&mut file, &current).await? {
            return Ok(());
        }
        if let Some(next) = rotated(&file, &current).await {
            // The old file was read to its end after it had been replaced.
            if !pump.drain(&mut file, &current).await? {
                return Ok(());
            }
            file = next;
            continue;
        }
        if !alive {
            pump.finish().await;
            return Ok(());
        }
        tokio::select! {
            biased;
            () = pump.out.closed() => return Ok(()),
            ended = running.changed() => if ended.is_err() { return Ok(()) },
            seen = changes.next() => seen.map_err(failed("watching", &current))?,
        }
    }
}

/// The new file, when the one that is open is no longer the current one.
async fn rotated(open: &File, current: &Path) -> Option<File> {
    let own = open.metadata().await.ok()?;
    let there = tokio::fs::metadata(current).await.ok()?;
    if (own.ino(), own.dev()) == (there.ino(), there.dev()) {
        return None;
    }
    File::open(current).await.ok()
}

struct Pump {
    renderer: Renderer,
    out: mpsc::Sender<Bytes>,
    line: Vec<u8>,
}

impl Pump {
    /// Gives out everything up to the file's end. False when the client wants no more.
    async fn drain(&mut self, file: &mut File, path: &Path) -> Result<bool, LogError> {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let count = file.read(&mut chunk).await.map_err(failed("reading", path))?;
            if count == 0 {
                return Ok(true);
            }
            let mut shown = Vec::with_capacity(count);
            let mut more = true;
            for part in chunk.get(..count).unwrap_or_default().split_inclusive(|b| *b == b'\n') {
                self.line.extend_from_slice(part);
                if part.ends_with(b"\n") || self.line.len() > LINE_BYTES_MAX {
                    more = self.renderer.line(&self.line, &mut shown);
                    self.line.clear();
                    if !more {
                        break;
                    }
                }
            }
            if !shown.is_empty() && self.out.send(Bytes::from(shown)).await.is_err() {
                return Ok(false);
            }
            if !more {
                return Ok(false);
            }
        }
    }

    /// A last line without its end.
    async fn finish(&mut self) {
        let mut shown = Vec::new();
        self.renderer.line(&self.line, &mut shown);
        if !shown.is_empty() {
            // The client may be gone: then nobody misses it.
            self.out.send(Bytes::from(shown)).await.ok();
        }
    }
}

/// Changes in a log's directory: lines written, files renamed or made.
struct Changes {
    inotify: AsyncFd<OwnedFd>,
}

impl Changes {
    fn new(current: &Path) -> Result<Self, LogError> {
        let error = |e: rustix::io::Errno| failed("watching", current)(e.into());
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(error)?;
        let dir = current.parent().unwrap_or(current);
        let what = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
        inotify::add_watch(&inotify, dir, what).map_err(error)?;
        #[allow(deprecated, reason = "its replacement is unsafe; an OwnedFd is what makes this one sound")]
        let inotify = AsyncFd::new(inotify).map_err(failed("watching", current))?;
        Ok(Self { inotify })
    }

    /// *Cancel safety*: events that were read only say that something changed.
    async fn next(&self) -> std::io::Result<()> {
        let mut events = [0; 4096];
        loop {
            let mut ready = self.inotify.readable().await?;
            let read =
                ready.try_io(|fd| rustix::io::read(fd.get_ref(), &mut events).map_err(std::io::Error::from));
            match read {
                Ok(count) => return count.map(drop),
                Err(_would_block) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use super::*;

    fn line(n: usize) -> String {
        format!("2024-01-01T00:00:0{n}Z stdout F line{n}\n")
    }

    async fn all(mut receiver: mpsc::Receiver<Bytes>) -> String {
        let mut text = Vec::new();
        while let Some(chunk) = receiver.recv().await {
            text.extend_from_slice(&chunk);
        }
        String::from_utf8(text).unwrap()
    }

    async fn shown(path: &Path, options: LogOptions) -> String {
        let (sender, receiver) = mpsc::channel(64);
        let (_alive, running) = watch::channel(false);
        let (done, text) = tokio::join!(read(path.to_path_buf(), options, running, sender), all(receiver));
        done.unwrap();
        text
    }

    #[tokio::test]
    async fn tail_counts_lines_over_rotated_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(dir.path().join("0.log.1"), line(1) + &line(2)).unwrap();
        std::fs::write(&path, line(3) + &line(4)).unwrap();
        let tail = |n| LogOptions { tail_lines: Some(n), ..LogOptions::default() };
        assert_eq!(shown(&path, LogOptions::default()).await, "line1\nline2\nline3\nline4\n");
        assert_eq!(shown(&path, tail(0)).await, "");
        assert_eq!(shown(&path, tail(1)).await, "line4\n");
        assert_eq!(shown(&path, tail(2)).await, "line3\nline4\n");
        assert_eq!(shown(&path, tail(3)).await, "line2\nline3\nline4\n");
        assert_eq!(shown(&path, tail(9)).await, "line1\nline2\nline3\nline4\n");
    }

    #[tokio::test]
    async fn following_sees_new_lines_and_rotation_and_ends_with_the_container() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, line(1)).unwrap();
        let (sender, mut receiver) = mpsc::channel(64);
        let (alive, running) = watch::channel(true);
        let options = LogOptions { follow: true, ..LogOptions::default() };
        let reader = read(path.clone(), options, running, sender);
        let script = async {
            let next = async |receiver: &mut mpsc::Receiver<Bytes>| {
                tokio::time::timeout(Duration::from_secs(5), receiver.recv()).await.unwrap().unwrap()
            };
            assert_eq!(next(&mut receiver).await, "line1\n");
            std::fs::OpenOptions::new()
                .append(true)
                .open(&path)
                .unwrap()
                .write_all(line(2).as_bytes())
                .unwrap();
            assert_eq!(next(&mut receiver).await, "line2\n");
            std::fs::rename(&path, dir.path().join("0.log.1")).unwrap();
            std::fs::write(&path, line(3)).unwrap();
            assert_eq!(next(&mut receiver).await, "line3\n");
            alive.send_replace(false);
            assert_eq!(tokio::time::timeout(Duration::from_secs(5), receiver.recv()).await.unwrap(), None);
        };
        let (done, ()) = tokio::join!(reader, script);
        done.unwrap();
    }
}
