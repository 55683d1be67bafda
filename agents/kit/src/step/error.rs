//! Why a step failed.

use super::target::Target;

/// A step that could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// The API server refused or could not be reached.
    #[error("{verb} {target}")]
    Call {
        /// What was attempted: `create`, `patch` and so on.
        verb: &'static str,
        /// The object it was attempted on.
        target: Box<Target>,
        /// The answer.
        #[source]
        source: kube::Error,
    },
    /// No answer came in time; the call may or may not have taken effect.
    #[error("{verb} {target}: no answer within {seconds} s")]
    Deadline {
        /// What was attempted.
        verb: &'static str,
        /// The object it was attempted on.
        target: Box<Target>,
        /// How long the answer was waited for.
        seconds: u64,
    },
    /// The request could not be built.
    #[error("{verb} {target}: {reason}")]
    Build {
        /// What was attempted.
        verb: &'static str,
        /// The object it was attempted on.
        target: Box<Target>,
        /// Why there is no request.
        reason: String,
    },
}

impl ActError {
    /// The HTTP code and reason of the API server's refusal.
    pub fn status(&self) -> Option<(u16, &str)> {
        match self {
            Self::Call { source: kube::Error::Api(status), .. } => Some((status.code, &status.reason)),
            _ => None,
        }
    }

    /// The API server's message, or the error's own text where there is none.
    pub fn answer(&self) -> String {
        match self {
            Self::Call { source, .. } => answer(source),
            other => other.to_string(),
        }
    }

    /// Whether the plan was made from a state that is no longer: another writer was faster, or the object is another
    /// one now. The next run, from a newer cache, is expected to do better.
    pub fn is_stale(&self) -> bool {
        matches!(self.status(), Some((409 | 404, _)))
    }

    /// Whether the namespace is being deleted, so that creating anything in it is pointless.
    pub fn is_namespace_terminating(&self) -> bool {
        let Self::Call { source: kube::Error::Api(status), .. } = self else { return false };
        status
            .details
            .as_ref()
            .is_some_and(|details| details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating"))
    }
}

/// The API server's message, or the client's own text with its causes where there is none.
pub fn answer(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return status.message.clone();
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
