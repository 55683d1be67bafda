//! Alarms: replicated marks that stop writes until a person has looked.

/// What an alarm is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlarmKind {
    /// A member's data has reached its quota. Puts, grants and transactions that may put are refused; reads, deletes and compaction pass.
    NoSpace,
    /// A member's data differs from the others'. Every write but to alarms is refused.
    Corrupt,
}

/// One alarm of one member. All members know of it, also after restarts, until it is disarmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Alarm {
    /// The member that it is about.
    pub member_id: u64,
    /// What it is about.
    pub kind: AlarmKind,
}
