//! Mistakes that a simulation can ask for, to see that it would notice them. Without the feature `sim` they are not compiled in.

/// A mistake in the store.
#[cfg_attr(not(feature = "sim"), allow(unreachable_pub, reason = "only simulations see it"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SeededBug {
    /// A vote is granted without being written.
    VoteNotPersisted,
    /// Appends are acknowledged before they are synced.
    AckBeforeFsync,
    /// A linearizable read does not ask whether this member is up to date.
    ReadWithoutReadIndex,
    /// A watch skips what was compacted instead of ending.
    WatchSkipsCompacted,
    /// Progress tells of revisions whose events were not delivered.
    ProgressAheadOfEvents,
    /// A snapshot has no leases.
    LeaseLostInSnapshot,
    /// A leader answers reads by a lease that ran out while it was paused.
    StaleReadAfterPause,
}

#[cfg(feature = "sim")]
thread_local! {
    static SEEDED: std::cell::Cell<Option<SeededBug>> = const { std::cell::Cell::new(None) };
}

/// Has all stores on this thread make this mistake.
#[cfg(feature = "sim")]
pub fn seed_bug(bug: Option<SeededBug>) {
    SEEDED.set(bug);
}

/// Whether to make a mistake.
#[cfg(feature = "sim")]
pub(crate) fn is_seeded(bug: SeededBug) -> bool {
    SEEDED.get() == Some(bug)
}

/// Whether to make a mistake: never.
#[cfg(not(feature = "sim"))]
pub(crate) const fn is_seeded(_bug: SeededBug) -> bool {
    false
}
