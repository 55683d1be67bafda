//! What RocksDB refuses.

/// A failed call to RocksDB.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{attempt}: {message}")]
pub(crate) struct EngineError {
    pub(crate) attempt: &'static str,
    pub(crate) message: String,
    /// The disk is full: worth another try once it is not.
    pub(crate) no_space: bool,
    /// It would have had to read from disk, and was told not to.
    pub(crate) incomplete: bool,
}

impl EngineError {
    pub(crate) fn rocksdb(attempt: &'static str) -> impl FnOnce(rocksdb::Error) -> Self {
        move |error| {
            let incomplete = error.kind() == rocksdb::ErrorKind::Incomplete;
            let message = error.into_string();
            let no_space = message.contains("No space left on device")
                || message.contains("NoSpace")
                || message.contains("no space");
            Self { attempt, message, no_space, incomplete }
        }
    }

    /// A row that this version did not write.
    pub(crate) fn damaged(attempt: &'static str, message: impl Into<String>) -> Self {
        Self { attempt, message: message.into(), no_space: false, incomplete: false }
    }
}

impl From<EngineError> for crate::mvcc::ViewError {
    fn from(error: EngineError) -> Self {
        Self(error.to_string())
    }
}
