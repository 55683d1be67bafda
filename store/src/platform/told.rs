//! A value that some tell and many wait for. Who waits is woken in the order of coming: tokio's own watch channel draws that order from the
//! system's randomness, which no seed of a simulation decides. It must not be held while it is looked at for long: the teller waits.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::{Notify, watch};

/// Whoever told has gone: the value will not change any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody tells any more")]
pub(crate) struct Gone;

#[derive(Debug, Default)]
struct Bell {
    changed: Notify,
    /// How often something was told.
    told: AtomicU64,
    gone: AtomicBool,
}

/// The telling half.
#[derive(Debug)]
pub(crate) struct Teller<T> {
    value: watch::Sender<T>,
    bell: Arc<Bell>,
}

/// The hearing half. It begins with the value of its making as known.
#[derive(Clone, Debug)]
pub(crate) struct Hearer<T> {
    value: watch::Receiver<T>,
    bell: Arc<Bell>,
    heard: u64,
}

impl Bell {
    fn ring(&self) {
        self.told.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_waiters();
    }
}

impl<T> Teller<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: watch::Sender::new(value), bell: Arc::default() }
    }

    pub(crate) fn hearer(&self) -> Hearer<T> {
        let heard = self.bell.told.load(Ordering::Acquire);
        Hearer { value: self.value.subscribe(), bell: Arc::clone(&self.bell), heard }
    }

    /// For those outside of the store, who may be woken in any order.
    pub(crate) fn receiver(&self) -> watch::Receiver<T> {
        self.value.subscribe()
    }

    pub(crate) fn borrow(&self) -> watch::Ref<'_, T> {
        self.value.borrow()
    }

    pub(crate) fn tell(&self, value: T) {
        drop(self.value.send_replace(value));
        self.bell.ring();
    }

    /// Tells a value if it is another one.
    pub(crate) fn tell_if_new(&self, value: T)
    where
        T: PartialEq,
    {
        let is_new = self.value.send_if_modified(|before| {
            let is_new = *before != value;
            *before = value;
            is_new
        });
        if is_new {
            self.bell.ring();
        }
    }
}

impl<T> Drop for Teller<T> {
    fn drop(&mut self) {
        self.bell.gone.store(true, Ordering::Release);
        self.bell.changed.notify_waiters();
    }
}

impl<T> Hearer<T> {
    pub(crate) fn borrow(&self) -> watch::Ref<'_, T> {
        self.value.borrow()
    }

    pub(crate) fn borrow_and_update(&mut self) -> watch::Ref<'_, T> {
        // Before the value: one that is told in between counts as not heard.
        self.heard = self.bell.told.load(Ordering::Acquire);
        self.value.borrow()
    }

    /// Waits for a value that was not looked at yet.
    pub(crate) async fn changed(&mut self) -> Result<(), Gone> {
        loop {
            // Made before looking: what is told from here on wakes it.
            let rung = self.bell.changed.notified();
            let is_gone = self.bell.gone.load(Ordering::Acquire);
            let told = self.bell.told.load(Ordering::Acquire);
            if told != self.heard {
                self.heard = told;
                return Ok(());
            }
            if is_gone {
                return Err(Gone);
            }
            rung.await;
        }
    }

    /// Waits until the value is one that fits.
    pub(crate) async fn until(&mut self, fits: impl Fn(&T) -> bool) -> Result<(), Gone> {
        loop {
            if fits(&self.borrow_and_update()) {
                return Ok(());
            }
            self.changed().await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hearers_are_woken_in_the_order_in_which_they_began_to_wait() {
        let teller = Teller::new(0);
        let woken = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..20 {
            let (mut hearer, woken) = (teller.hearer(), Arc::clone(&woken));
            tasks.spawn(async move {
                hearer.changed().await.unwrap();
                woken.lock().push(number);
            });
        }
        tokio::task::yield_now().await;
        teller.tell(1);
        while tasks.join_next().await.is_some() {}
        assert_eq!(*woken.lock(), (0..20).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_was_told_before_the_teller_went_is_heard_and_then_the_end() {
        let teller = Teller::new(0);
        let (mut hearer, mut until) = (teller.hearer(), teller.hearer());
        teller.tell(7);
        teller.tell_if_new(7);
        drop(teller);
        assert_eq!(hearer.changed().await, Ok(()));
        let heard = *hearer.borrow();
        assert_eq!((heard, hearer.changed().await), (7, Err(Gone)));
        assert_eq!(until.until(|value| *value == 7).await, Ok(()));
        assert_eq!(until.until(|value| *value == 8).await, Err(Gone));
    }
}
