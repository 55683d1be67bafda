//! Why a patch is refused.

use mainstay_proto_api::Status;

/// Why a patch was not applied; the texts are upstream's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch itself is not well formed: 400.
    #[error("{0}")]
    Malformed(String),
    /// The patch does not fit the object: 422.
    #[error("{0}")]
    Unprocessable(String),
    /// A test of the patch failed: 422.
    #[error("testing value {path} failed: test failed")]
    TestFailed {
        /// What was tested.
        path: String,
    },
    /// The patch has too many operations: 413.
    #[error("The allowed maximum operations in a JSON patch is {limit}, got {count}")]
    TooLarge {
        /// How many are allowed.
        limit: usize,
        /// How many there are.
        count: usize,
    },
}

impl PatchError {
    /// The answer to the client.
    pub fn to_status(&self) -> Status {
        match self {
            Self::Malformed(text) => Status::bad_request(text.clone()),
            Self::Unprocessable(_) | Self::TestFailed { .. } => Status::failure(
                422,
                "Invalid",
                format!("the server rejected our request due to an error in our request: {self}"),
            ),
            Self::TooLarge { .. } => {
                Status::failure(413, "RequestEntityTooLarge", format!("Request entity too large: {self}"))
            }
        }
    }
}

pub(super) fn malformed<T>(text: impl Into<String>) -> Result<T, PatchError> {
    Err(PatchError::Malformed(text.into()))
}

pub(super) fn unprocessable<T>(text: impl Into<String>) -> Result<T, PatchError> {
    Err(PatchError::Unprocessable(text.into()))
}
