//! How new what is read must be: as new as the newest acknowledged write, or, where that is allowed and too few of the store's
//! members answer, as new as this server's cache is. Writes never come here: they need a quorum whatever is allowed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use mainstay_base::lifecycle::Clock;
use mainstay_proto_api::Status;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Registry;

/// A read waits so long for a quorum before it is stale: longer than a leader that died takes to be replaced.
const QUORUM_WAIT: Duration = Duration::from_secs(2);
/// The same while the quorum is known to be lost: no read is faster than this, none waits for nothing.
const LOST_WAIT: Duration = Duration::from_millis(200);

/// What a server knows about how fresh its cache is.
#[derive(Debug)]
pub(super) struct Freshness {
    stale_reads: AtomicBool,
    /// The cache has everything that was acknowledged before this moment, in seconds since 1970.
    confirmed: AtomicI64,
    /// Whether the last read that could be stale was.
    lost: AtomicBool,
    clock: Arc<dyn Clock>,
}

/// What a read may lack: everything that was acknowledged elsewhere after a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stale {
    /// That moment.
    pub since: OffsetDateTime,
}

impl Stale {
    /// The sentence for the client's `Warning` header.
    pub fn warning(&self) -> String {
        let since = self.since.format(&Rfc3339).unwrap_or_else(|_year| self.since.to_string());
        format!("too few servers of the cluster answer: this is as of {since}, and may be stale")
    }
}

impl Freshness {
    /// Of a cache that is not read before it has everything of now.
    pub(super) fn new(stale_reads: bool, clock: Arc<dyn Clock>) -> Self {
        let confirmed = AtomicI64::new(clock.wall().unix_timestamp());
        Self { stale_reads: AtomicBool::new(stale_reads), confirmed, lost: AtomicBool::new(false), clock }
    }

    /// Now, for [`Freshness::confirm`].
    pub(super) fn asked(&self) -> i64 {
        self.clock.wall().unix_timestamp()
    }

    /// The cache has everything that was acknowledged before `asked`.
    pub(super) fn confirm(&self, asked: i64) {
        self.confirmed.fetch_max(asked, Ordering::Relaxed);
        self.lost.store(false, Ordering::Relaxed);
    }

    fn stale(&self) -> Stale {
        self.lost.store(true, Ordering::Relaxed);
        let since = OffsetDateTime::from_unix_timestamp(self.confirmed.load(Ordering::Relaxed));
        Stale { since: since.unwrap_or(OffsetDateTime::UNIX_EPOCH) }
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
    use mainstay_base::lifecycle::SystemClock;

    #[test]
    fn what_may_be_lacking_is_told_with_the_last_moment_that_was_sure() {
        let freshness = Freshness::new(true, Arc::new(SystemClock));
        freshness.confirmed.store(0, Ordering::Relaxed);
        freshness.confirm(86_400);
        freshness.confirm(3_600); // asked before, answered later
        let stale = freshness.stale();
        assert!(stale.warning().contains("as of 1970-01-02T00:00:00Z"), "{}", stale.warning());
        assert!(freshness.lost.load(Ordering::Relaxed));
        freshness.confirm(86_401);
        assert!(!freshness.lost.load(Ordering::Relaxed));
    }
}
