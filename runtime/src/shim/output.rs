//! One output of a container: read, logged, and copied to whoever is attached. A slow attached reader holds the
//! container up, as a slow terminal does; one that is gone is forgotten.

use super::log::{Lines, LogFile, Stream};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use time::OffsetDateTime;

const READ_BYTES: usize = 32 << 10;

/// An attached copy with what it has not taken yet.
struct Copy {
    fd: OwnedFd,
    waiting: Vec<u8>,
}

/// The read end of a container's output.
pub(crate) struct Output {
    fd: Option<OwnedFd>,
    lines: Lines,
    copies: Vec<Copy>,
}

impl Output {
    pub(crate) fn new(fd: OwnedFd, stream: Stream) -> Self {
        Self { fd: Some(fd), lines: Lines::new(stream), copies: Vec::new() }
    }

    /// The descriptor to read from, unless it has ended or an attached reader must be waited for.
    pub(crate) fn readable(&self) -> Option<&OwnedFd> {
        if self.copies.iter().all(|copy| copy.waiting.is_empty()) { self.fd.as_ref() } else { None }
    }

    /// The descriptors of attached readers that must be waited for.
    pub(crate) fn writable(&self) -> impl Iterator<Item = &OwnedFd> {
        self.copies.iter().filter(|copy| !copy.waiting.is_empty()).map(|copy| &copy.fd)
    }

    pub(crate) fn attach(&mut self, fd: OwnedFd) {
        if self.fd.is_some() {
            // Readers that left while nothing was said are noticed now: they must not pile up.
            self.copies.retain(|copy| !abandoned(&copy.fd));
            self.copies.push(Copy { fd, waiting: Vec::new() });
        }
    }

    /// Reads what is there once. True when there may be more at once.
    pub(crate) fn read(&mut self, log: Option<&mut LogFile>) -> bool {
        let Some(fd) = &self.fd else { return false };
        let mut buffer = vec![0_u8; READ_BYTES];
        match rustix::io::read(fd, &mut buffer) {
            Ok(0) => self.end(log),
            Ok(count) => {
                let bytes = buffer.get(..count).unwrap_or_default();
                let mut text = Vec::with_capacity(count + count / 4 + 64);
                self.lines.feed(bytes, OffsetDateTime::now_utc(), &mut text);
                write(log, &text);
                for copy in &mut self.copies {
                    copy.waiting.extend_from_slice(bytes);
                }
                self.flush();
                return true;
            }
            Err(Errno::INTR) => return true,
            Err(Errno::AGAIN) => {}
            // EIO: the last process has left the terminal.
            Err(_) => self.end(log),
        }
        false
    }

    /// Hands attached readers what they take without blocking.
    pub(crate) fn flush(&mut self) {
        self.copies.retain_mut(|copy| {
            while !copy.waiting.is_empty() {
                match rustix::io::write(&copy.fd, &copy.waiting) {
                    Ok(count) => drop(copy.waiting.drain(..count)),
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => return true,
                    Err(_) => return false,
                }
            }
            true
        });
    }

    /// Everything that can be read without waiting, for a container whose process is gone.
    pub(crate) fn drain(&mut self, mut log: Option<&mut LogFile>) {
        while self.readable().is_some() && self.read(log.as_deref_mut()) {}
    }

    fn end(&mut self, log: Option<&mut LogFile>) {
        let mut text = Vec::new();
        self.lines.finish(OffsetDateTime::now_utc(), &mut text);
        write(log, &text);
        self.flush();
        self.fd = None;
        self.copies.clear();
    }
}

/// Whether nobody reads a pipe any more.
fn abandoned(fd: &OwnedFd) -> bool {
    let mut ask = [PollFd::new(fd, PollFlags::OUT)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut ask, Some(&now)).is_ok() && ask.iter().any(|fd| fd.revents().contains(PollFlags::ERR))
}

/// A full disk loses lines; the container runs on.
fn write(log: Option<&mut LogFile>, text: &[u8]) {
    if let Some(log) = log
        && !text.is_empty()
        && let Err(error) = log.write(text)
    {
        drop(error);
    }
}
