//! Waits until the kernel tells of a change in the folder of a file: editors and mounted ConfigMaps replace files, so that
//! the file itself is not what is watched.

use std::io;
use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

/// Bytes of events that are taken at once.
const EVENTS_BYTES: usize = 4096;

/// The changes of a folder.
pub(super) struct Changes {
    inotify: AsyncFd<OwnedFd>,
}

impl Changes {
    /// Watches the folder of `file`.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn beside(file: &Path) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let what = WatchFlags::CLOSE_WRITE | WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::DELETE;
        inotify::add_watch(&inotify, folder.unwrap_or_else(|| Path::new(".")), what)?;
        #[allow(deprecated, reason = "its replacement is unsafe; an OwnedFd is what makes this one sound")]
        let inotify = AsyncFd::new(inotify)?;
        Ok(Self { inotify })
    }

    /// Waits for the next change. A wait that is dropped misses nothing.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) async fn next(&self) -> io::Result<()> {
        let mut events = [0_u8; EVENTS_BYTES];
        loop {
            let mut ready = self.inotify.readable().await?;
            let read =
                ready.try_io(|fd| rustix::io::read(fd.get_ref(), &mut events).map_err(io::Error::from));
            match read {
                Ok(count) => return count.map(drop),
                Err(_would_block) => {}
            }
        }
    }
}
