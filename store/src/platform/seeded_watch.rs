//! A watch channel that wakes its receivers in the order in which they began to wait. tokio's own draws that order from the system's randomness.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use openraft_rt::watch::{RecvError, SendError, Watch, WatchReceiver, WatchSender};
use openraft_rt::{OptionalSend, OptionalSync};
use tokio::sync::{Notify, watch};

/// The kind of channel.
pub(crate) struct SeededWatch;

#[derive(Debug)]
struct Shared {
    /// How often a value was sent.
    version: AtomicU64,
    senders: AtomicUsize,
    /// Wakes all that wait, in order.
    changed: Notify,
}

/// The sending half.
pub(crate) struct SeededSender<T> {
    value: watch::Sender<T>,
    shared: Arc<Shared>,
}

/// The receiving half.
pub(crate) struct SeededReceiver<T> {
    value: watch::Receiver<T>,
    shared: Arc<Shared>,
    seen: u64,
}

impl<T> SeededSender<T> {
    fn tell(&self) {
        self.shared.version.fetch_add(1, Ordering::AcqRel);
        self.shared.changed.notify_waiters();
    }
}

impl<T> Clone for SeededSender<T> {
    fn clone(&self) -> Self {
        self.shared.senders.fetch_add(1, Ordering::AcqRel);
        Self { value: self.value.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<T> Drop for SeededSender<T> {
    fn drop(&mut self) {
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.changed.notify_waiters();
        }
    }
}

impl<T> Clone for SeededReceiver<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), shared: Arc::clone(&self.shared), seen: self.seen }
    }
}

impl Watch for SeededWatch {
    type Sender<T: OptionalSend + OptionalSync> = SeededSender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = SeededReceiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = watch::Ref<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (Self::Sender<T>, Self::Receiver<T>) {
        let (sender, receiver) = watch::channel(init);
        let shared = Arc::new(Shared {
            version: AtomicU64::new(0),
            senders: AtomicUsize::new(1),
            changed: Notify::new(),
        });
        (
            SeededSender { value: sender, shared: Arc::clone(&shared) },
            SeededReceiver { value: receiver, shared, seen: 0 },
        )
    }
}

impl<T: OptionalSend + OptionalSync> WatchSender<SeededWatch, T> for SeededSender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.value.send(value).map_err(|unsent| SendError(unsent.0))?;
        self.tell();
        Ok(())
    }

    fn send_if_modified<F: FnOnce(&mut T) -> bool>(&self, modify: F) -> bool {
        let modified = self.value.send_if_modified(modify);
        if modified {
            self.tell();
        }
        modified
    }

    fn borrow_watched(&self) -> watch::Ref<'_, T> {
        self.value.borrow()
    }

    fn subscribe(&self) -> SeededReceiver<T> {
        SeededReceiver {
            value: self.value.subscribe(),
            shared: Arc::clone(&self.shared),
            seen: self.shared.version.load(Ordering::Acquire),
        }
    }
}

impl<T: OptionalSend + OptionalSync> WatchReceiver<SeededWatch, T> for SeededReceiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        loop {
            // Made before looking: what is told from here on wakes it.
            let told = self.shared.changed.notified();
            let version = self.shared.version.load(Ordering::Acquire);
            if version != self.seen {
                self.seen = version;
                return Ok(());
            }
            if self.shared.senders.load(Ordering::Acquire) == 0 {
                return Err(RecvError(()));
            }
            told.await;
        }
    }

    fn borrow_watched(&self) -> watch::Ref<'_, T> {
        self.value.borrow()
    }

    fn borrow_and_update(&mut self) -> watch::Ref<'_, T> {
        self.seen = self.shared.version.load(Ordering::Acquire);
        self.value.borrow_and_update()
    }
}
