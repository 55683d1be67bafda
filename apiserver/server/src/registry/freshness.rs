//! How new what is read must be: as new as the newest acknowledged write, or, where that is allowed and too few of the store's
//! members answer, as new as this server's cache is. Writes never come here: they need a quorum whatever is allowed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use mainstay_base::lifecycle::Clock;
use mainstay_proto_api::Status;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

use super::Registry;

/// A read waits so long for a quorum before it is stale: longer than a leader that died takes to be replaced.
const QUORUM_WAIT: Duration = Duration::from_secs(2);
/// The same while the quorum is known to be lost: no read is faster than this, none waits for nothing.
const LOST_WAIT: Duration = Duration::from_millis(200);

/// No moment.
const NEVER: i64 = i64::MIN;

/// What a server knows about how fresh its cache is.
#[derive(Debug)]
pub(super) struct Freshness {
    stale_reads: AtomicBool,
    /// The cache has everything that was acknowledged before this moment, in seconds since 1970; [`NEVER`] where none is known.
    confirmed: AtomicI64,
    /// The same moment, in milliseconds after `begin`.
    confirmed_after: AtomicU64,
    begin: Instant,
    /// Held by the one who asks the store for all who need not be told at once.
    asking: tokio::sync::Mutex<()>,
    /// Whether the last read that could be stale was.
    lost: AtomicBool,
    clock: Arc<dyn Clock>,
}

/// What a read may lack: everything that was acknowledged elsewhere after a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stale {
    /// That moment; none where no quorum has answered since this server started.
    pub since: Option<OffsetDateTime>,
}

impl Stale {
    /// The sentence for the client's `Warning` header.
    pub fn warning(&self) -> String {
        let shown = |since: OffsetDateTime| since.format(&Rfc3339).unwrap_or_else(|_year| since.to_string());
        let since = self.since.map_or_else(|| "before this server started".to_owned(), shown);
        format!("too few servers of the cluster answer: this is as of {since}, and may be stale")
    }
}

/// When a question to the store was asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    unix_seconds: i64,
    after: u64,
}

impl Freshness {
    /// Of a cache that is not read before it has everything of now.
    pub(super) fn new(stale_reads: bool, clock: Arc<dyn Clock>) -> Self {
        let (confirmed, begin) = (AtomicI64::new(clock.wall().unix_timestamp()), clock.now());
        let (confirmed_after, lost) = (AtomicU64::new(0), AtomicBool::new(false));
        let (stale_reads, asking) = (AtomicBool::new(stale_reads), tokio::sync::Mutex::default());
        Self { stale_reads, confirmed, confirmed_after, begin, asking, lost, clock }
    }

    /// From now on nothing is known of how new the cache is.
    pub(super) fn unconfirm(&self) {
        self.confirmed.store(NEVER, Ordering::Relaxed);
        self.lost.store(true, Ordering::Relaxed);
    }

    /// Now, for [`Freshness::confirm`].
    pub(super) fn asked(&self) -> Asked {
        Asked { unix_seconds: self.clock.wall().unix_timestamp(), after: self.milliseconds() }
    }

    /// The cache has everything that was acknowledged before `asked`.
    pub(super) fn confirm(&self, asked: Asked) {
        self.confirmed.fetch_max(asked.unix_seconds, Ordering::Relaxed);
        self.confirmed_after.fetch_max(asked.after, Ordering::Relaxed);
        self.lost.store(false, Ordering::Relaxed);
    }

    /// Whether it is known that the cache has everything that was acknowledged more than `age` ago.
    fn was_fresh_within(&self, age: Duration) -> bool {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        self.confirmed.load(Ordering::Relaxed) != NEVER
            && self.milliseconds() <= self.confirmed_after.load(Ordering::Relaxed).saturating_add(age)
    }

    fn milliseconds(&self) -> u64 {
        u64::try_from(self.clock.now().saturating_duration_since(self.begin).as_millis()).unwrap_or(u64::MAX)
    }

    fn stale(&self) -> Stale {
        self.lost.store(true, Ordering::Relaxed);
        let confirmed = self.confirmed.load(Ordering::Relaxed);
        let since = (confirmed != NEVER).then(|| OffsetDateTime::from_unix_timestamp(confirmed).ok());
        Stale { since: since.flatten() }
    }
}

impl Registry {
    /// Whether reads may be stale when too few of the store's members answer.
    pub fn stale_reads(&self) -> bool {
        self.inner.freshness.stale_reads.load(Ordering::Relaxed)
    }

    /// Allows that, or ends it. For an administrator who wants to look at what is left of a cluster.
    pub fn allow_stale_reads(&self, allowed: bool) {
        self.inner.freshness.stale_reads.store(allowed, Ordering::Relaxed);
    }

    /// As [`Registry::fresh`], but what was found out not more than `age` ago, for whomever, is good enough: for those who ask often,
    /// and only whether all is well. One asks for all, with the store's next heartbeat.
    ///
    /// # Errors
    /// As [`Registry::fresh`].
    pub async fn fresh_within(&self, age: Duration) -> Result<(), Status> {
        let freshness = &self.inner.freshness;
        if freshness.was_fresh_within(age) {
            return Ok(());
        }
        let _asks = freshness.asking.lock().await;
        // Whoever was asking when this call came may have found out enough.
        if freshness.was_fresh_within(age) { Ok(()) } else { self.fresh_by_heartbeat().await }
    }

    /// The cache is of this server's own copy, and no other server has confirmed any of it.
    pub fn unconfirmed(self) -> Self {
        self.inner.freshness.unconfirm();
        self
    }

    /// As [`Registry::fresh`]; where stale reads are allowed, what the cache has is good enough when no quorum answers, and
    /// the result tells since when it may be stale.
    ///
    /// # Errors
    /// As [`Registry::fresh`], where they are not allowed.
    pub async fn fresh_or_stale(&self) -> Result<Option<Stale>, Status> {
        if !self.stale_reads() {
            return self.fresh().await.map(|()| None);
        }
        let freshness = &self.inner.freshness;
        let wait = if freshness.lost.load(Ordering::Relaxed) { LOST_WAIT } else { QUORUM_WAIT };
        match tokio::time::timeout(wait, self.fresh()).await {
            Ok(Ok(())) => Ok(None),
            Ok(Err(_)) | Err(_) => Ok(Some(freshness.stale())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_base::lifecycle::{ManualClock, SystemClock};

    #[test]
    fn what_may_be_lacking_is_told_with_the_last_moment_that_was_sure() {
        let freshness = Freshness::new(true, Arc::new(SystemClock));
        freshness.confirmed.store(0, Ordering::Relaxed);
        freshness.confirm(Asked { unix_seconds: 86_400, after: 0 });
        freshness.confirm(Asked { unix_seconds: 3_600, after: 0 }); // asked before, answered later
        let stale = freshness.stale();
        assert!(stale.warning().contains("as of 1970-01-02T00:00:00Z"), "{}", stale.warning());
        assert!(freshness.lost.load(Ordering::Relaxed));
        freshness.confirm(Asked { unix_seconds: 86_401, after: 0 });
        assert!(!freshness.lost.load(Ordering::Relaxed));
        freshness.unconfirm();
        let stale = freshness.stale();
        assert!(stale.warning().contains("as of before this server started"), "{}", stale.warning());
        assert!(!freshness.was_fresh_within(Duration::from_secs(3600)));
    }

    #[test]
    fn an_answer_is_good_for_a_while_from_when_it_was_asked_for() {
        let clock = ManualClock::new(OffsetDateTime::UNIX_EPOCH);
        let freshness = Freshness::new(false, Arc::new(clock.clone()));
        let pass = |milliseconds| clock.advance(Duration::from_millis(milliseconds));
        let good = || freshness.was_fresh_within(Duration::from_millis(200));
        let asked = freshness.asked();
        pass(150);
        freshness.confirm(asked);
        pass(50);
        assert!(good());
        pass(1);
        assert!(!good());
        freshness.confirm(freshness.asked());
        assert!(good());
    }
}
