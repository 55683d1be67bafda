//! The one function that turns errors from below into a Kubernetes `Status`.

use mainstay_apiserver_machinery::kind::Kind;
use mainstay_proto_api::Status;
use mainstay_store::{LeaseError, RangeError, Revision, WriteError};
use tracing::error;

use crate::backing::BackingError;
use crate::cache::StoredDataError;
use crate::encryption::VaultError;
use crate::registry::KeyError;

/// Anything that can go wrong below a handler and is not a `Status` already.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A call on the store.
    #[error(transparent)]
    Store(#[from] BackingError),
    /// Bytes in the store that are not the object they should be.
    #[error(transparent)]
    Stored(#[from] StoredDataError),
    /// A value that cannot be opened or sealed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A name that cannot be a key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// An object that cannot be encoded for storage or for the client.
    #[error("encoding {kind}: {reason}")]
    Encode {
        /// Its kind.
        kind: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// An object larger than the store takes.
    #[error("the object has {bytes} bytes, at most {max} are stored")]
    ObjectTooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// What is to be answered already.
    #[error("{}", .0.message)]
    Answered(Status),
    /// Too many concurrent writers of one object.
    #[error("{kind} {name:?} was changed by others in {attempts} attempts")]
    Contention {
        /// Kind.
        kind: &'static str,
        /// Name.
        name: String,
        /// How often it was tried.
        attempts: usize,
    },
}

/// Why a store that is well itself does nothing.
const NO_QUORUM: &str = "too few servers of the cluster answer (no quorum), or they are slow";

/// The answer for a failure. Faults of ours are logged here, once.
pub fn to_status(kind: Option<&Kind>, failure: &Failure) -> Status {
    let (group, resource) = kind.map_or(("", ""), |k| (k.group, k.plural));
    match failure {
        Failure::ObjectTooLarge { max, .. } => Status::request_entity_too_large(*max),
        Failure::Store(error) => of_store(group, resource, error),
        Failure::Answered(status) => status.clone(),
        Failure::Contention { .. } => Status::server_timeout(group, resource, "update", 1),
        Failure::Key(KeyError::Segment(name)) => Status::not_found(group, resource, name),
        Failure::Key(KeyError::NotStored(_)) => Status::method_not_allowed(group, resource, "storage"),
        other => {
            error!(error = %other, "request failed inside the server");
            Status::internal(other)
        }
    }
}

fn of_store(group: &str, resource: &str, error: &BackingError) -> Status {
    match error {
        BackingError::Write(WriteError::TooLarge { max, .. }) => Status::request_entity_too_large(*max),
        BackingError::Write(WriteError::NoLeader)
        | BackingError::Range(RangeError::NoLeader)
        | BackingError::Lease(LeaseError::Write(WriteError::NoLeader)) => {
            Status::service_unavailable(format!("{error}: {NO_QUORUM}"))
        }
        BackingError::Write(
            WriteError::NoSpace { .. }
            | WriteError::NoSpaceAlarm
            | WriteError::CorruptAlarm
            | WriteError::Closed
            | WriteError::Halted(_),
        )
        | BackingError::Range(RangeError::Timeout | RangeError::Closed | RangeError::Halted(_))
        | BackingError::Lease(LeaseError::Write(WriteError::NoSpaceAlarm))
        | BackingError::Unreachable(_) => Status::service_unavailable(error.to_string()),
        BackingError::Write(WriteError::LeaderChanged) => Status::server_timeout(group, resource, "write", 1),
        // A client that tries again by itself could do it twice: it is told, and nothing of when to come back.
        BackingError::Write(WriteError::Unknown(_) | WriteError::Timeout) => {
            Status::timeout(format!("{error}: it may have been done, or may yet be; {NO_QUORUM}"), 0)
        }
        BackingError::Range(RangeError::Compacted { wanted, floor })
        | BackingError::Write(WriteError::Compacted { wanted, floor }) => too_old(*wanted, *floor),
        BackingError::Range(RangeError::FutureRevision { wanted, current })
        | BackingError::Behind { wanted, current } => {
            Status::too_large_resource_version(wanted.0.unsigned_abs(), current.0.unsigned_abs(), 1)
        }
        other => {
            error!(error = %other, "the store failed a request");
            Status::internal(other)
        }
    }
}

/// 410 for a revision that is no longer there.
pub fn too_old(wanted: Revision, oldest: Revision) -> Status {
    Status::expired(format!("too old resource version: {wanted} ({oldest})"))
}

/// An error with its causes.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}
