//! The one error of this crate: what was attempted, the CRI code a caller would see, and the chain of causes.

use mainstay_proto_wire::cri::{Code, CriError};

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What failed, as a sentence, with its cause behind `source()`.
#[derive(Debug)]
pub struct Failure {
    code: Code,
    what: String,
    cause: Option<Cause>,
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// A failure without a further cause.
    pub fn new(code: Code, what: impl Into<String>) -> Self {
        Self { code, what: what.into(), cause: None }
    }

    /// The request is wrong.
    pub fn invalid(what: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, what)
    }

    /// The object is unknown.
    pub fn not_found(what: impl Into<String>) -> Self {
        Self::new(Code::NotFound, what)
    }

    /// The object's state does not allow it.
    pub fn precondition(what: impl Into<String>) -> Self {
        Self::new(Code::FailedPrecondition, what)
    }

    /// A limit was reached.
    pub fn exhausted(what: impl Into<String>) -> Self {
        Self::new(Code::ResourceExhausted, what)
    }

    /// Everything else.
    pub fn internal(what: impl Into<String>) -> Self {
        Self::new(Code::Internal, what)
    }

    /// The class of the failure.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The same failure under another code.
    #[must_use]
    pub fn with_code(mut self, code: Code) -> Self {
        self.code = code;
        self
    }

    /// The same failure seen from a larger operation.
    #[must_use]
    pub fn during(self, what: impl Into<String>) -> Self {
        Self { code: self.code, what: what.into(), cause: Some(Box::new(self)) }
    }

    /// The whole chain in one line.
    pub fn chain(&self) -> String {
        let mut text = self.what.clone();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn std::error::Error + 'static))
    }
}

impl From<Failure> for CriError {
    fn from(failure: Failure) -> Self {
        Self::new(failure.code, failure.chain())
    }
}

/// Names what was attempted when a call of somebody else fails.
pub(crate) trait Attempt<T> {
    /// Wraps the error as the cause of `what`.
    fn attempt(self, what: &str) -> Result<T>;
    /// The same with a sentence that is only built on failure.
    fn attempt_with(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: std::error::Error + Send + Sync + 'static> Attempt<T> for std::result::Result<T, E> {
    fn attempt(self, what: &str) -> Result<T> {
        self.attempt_with(|| what.to_owned())
    }

    fn attempt_with(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| {
            let cause: Cause = Box::new(error);
            let code = code_of(cause.as_ref());
            Failure { code, what: what(), cause: Some(cause) }
        })
    }
}

/// A full disk is worth telling apart: the caller reports it to the user instead of retrying at once.
fn code_of(cause: &(dyn std::error::Error + Send + Sync + 'static)) -> Code {
    if let Some(failure) = cause.downcast_ref::<Failure>() {
        return failure.code;
    }
    let full = cause.downcast_ref::<std::io::Error>().is_some_and(|error| {
        matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
    });
    if full { Code::ResourceExhausted } else { Code::Internal }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_names_every_step_once() {
        let failure =
            std::fs::read("/nonexistent/x").attempt("reading x").unwrap_err().during("opening the store");
        assert_eq!(failure.chain(), "opening the store: reading x: No such file or directory (os error 2)");
    }
}
