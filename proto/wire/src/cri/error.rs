//! The one error of the CRI services: a gRPC code and a sentence, as it would travel over the wire.

/// The gRPC status codes that CRI callers tell apart; values are gRPC's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Code {
    /// The operation was cancelled.
    Cancelled = 1,
    /// Any other failure.
    Unknown = 2,
    /// The request itself is wrong, whatever the state.
    InvalidArgument = 3,
    /// The time ran out.
    DeadlineExceeded = 4,
    /// No such sandbox, container or image.
    NotFound = 5,
    /// The name is taken.
    AlreadyExists = 6,
    /// Not allowed.
    PermissionDenied = 7,
    /// A limit is reached (disk, addresses, sizes).
    ResourceExhausted = 8,
    /// The object is in a state that does not allow the call.
    FailedPrecondition = 9,
    /// Not built.
    Unimplemented = 12,
    /// A broken invariant or failed system call.
    Internal = 13,
    /// The other side cannot be reached now.
    Unavailable = 14,
    /// Stored data is broken (digest mismatch).
    DataLoss = 15,
    /// Credentials are missing or refused.
    Unauthenticated = 16,
}

/// What a CRI call failed with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CriError {
    /// The class of the failure.
    pub code: Code,
    /// What was attempted and what went wrong. The kubelet-style reasons (`ErrImageNeverPull` …) are not in here,
    /// except where CRI itself defines one as a prefix (`RegistryUnavailable: `, `SignatureValidationFailed: `).
    pub message: String,
}

/// The result of a CRI call.
pub type CriResult<T> = Result<T, CriError>;

impl CriError {
    /// An error of `code`.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// [`Code::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Code::NotFound, message)
    }

    /// [`Code::InvalidArgument`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// [`Code::FailedPrecondition`].
    pub fn precondition(message: impl Into<String>) -> Self {
        Self::new(Code::FailedPrecondition, message)
    }

    /// [`Code::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::Internal, message)
    }

    /// [`Code::Unknown`].
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::new(Code::Unknown, message)
    }
}
