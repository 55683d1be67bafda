//! [`BackingError`]: what a store can answer instead of doing what it was asked.

use mainstay_store::{CompactError, LeaseError, RangeError, WatchError, WriteError};

/// Why a call on the store failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BackingError {
    /// A read was refused.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// A write was refused, or its outcome is unknown.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A lease was not granted.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// A compaction was refused.
    #[error(transparent)]
    Compact(#[from] CompactError),
    /// Changes can no longer be followed.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// No server of a remote store answers. Nothing was written.
    #[error("the store cannot be reached: {0}")]
    Unreachable(String),
    /// A remote store said something that no store of ours says, such as that this client may not do it.
    #[error("the store refused: {0}")]
    Refused(String),
    /// The store has a revision whose changes have not arrived in time.
    #[error("the store is at revision {wanted}, and only {current} has arrived")]
    Behind {
        /// The store's.
        wanted: mainstay_store::Revision,
        /// What has arrived.
        current: mainstay_store::Revision,
    },
}

impl BackingError {
    /// Whether history that was asked for is gone.
    pub fn is_compacted(&self) -> bool {
        matches!(
            self,
            Self::Range(RangeError::Compacted { .. })
                | Self::Write(WriteError::Compacted { .. })
                | Self::Watch(WatchError::Compacted { .. })
                | Self::Compact(CompactError::Compacted { .. })
        )
    }

    /// Whether the same may succeed a little later, without anybody changing anything.
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_)
                | Self::Range(RangeError::NoLeader | RangeError::Timeout)
                | Self::Behind { .. }
        )
    }
}
