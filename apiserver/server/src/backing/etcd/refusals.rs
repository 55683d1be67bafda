//! What etcd's codes and texts mean: the library's errors, and whether a call may be made again. Pure.
//!
//! The texts are those of etcd's `rpctypes`, which its clients go by too.

use std::error::Error as _;

use mainstay_store::{CompactError, LeaseError, LeaseId, RangeError, Revision, WriteError};
use tonic::{Code, Status};

use super::super::BackingError;

/// What a failed attempt leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    /// The call has its answer, however bad.
    Answered,
    /// Nothing was done: another server may be asked.
    Undone,
    /// It may have been done. Reads may be asked again.
    Unknown,
}

/// How far an attempt came.
pub(super) fn attempt(status: &Status) -> Attempt {
    if never_sent(status) {
        return Attempt::Undone;
    }
    match (status.code(), text(status)) {
        // A member that cannot serve now, and says so before it does anything.
        (Code::Unavailable, "no leader") | (Code::FailedPrecondition, "rpc not supported for learner") => {
            Attempt::Undone
        }
        (Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled, _) => Attempt::Unknown,
        // A connection that broke; a server's own answers have no cause on this side.
        (Code::Unknown | Code::Internal, _) if status.source().is_some() => Attempt::Unknown,
        _ => Attempt::Answered,
    }
}

/// Whether there was no connection to send the call on.
fn never_sent(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// The text without etcd's prefix.
fn text(status: &Status) -> &str {
    status.message().trim_start_matches("etcdserver: ")
}

/// The cause that a person can do something about.
fn cause(status: &Status) -> String {
    let mut deepest = status.message().to_owned();
    let mut source = status.source();
    while let Some(error) = source {
        deepest = error.to_string();
        source = error.source();
    }
    deepest
}

fn refused(status: &Status) -> BackingError {
    BackingError::Refused(format!("{:?}: {}", status.code(), status.message()))
}

/// No server answered; `server` is the last one asked.
fn unreachable(server: &str, status: &Status) -> BackingError {
    BackingError::Unreachable(format!("{server}: {}", cause(status)))
}

/// To a read at `wanted`. etcd does not tell which revisions there are: `seen` is the newest that this client has heard of.
pub(super) fn of_range(server: &str, status: &Status, wanted: Revision, seen: Revision) -> BackingError {
    match (status.code(), text(status)) {
        (Code::OutOfRange, "mvcc: required revision has been compacted") => {
            RangeError::Compacted { wanted, floor: wanted.next() }.into()
        }
        (Code::OutOfRange, "mvcc: required revision is a future revision") => {
            RangeError::FutureRevision { wanted, current: seen }.into()
        }
        (Code::Unavailable, "no leader") => RangeError::NoLeader.into(),
        (Code::Unavailable, text) if text.starts_with("request timed out") => RangeError::Timeout.into(),
        _ if attempt(status) == Attempt::Answered => refused(status),
        _ => unreachable(server, status),
    }
}

/// To a write, with the lease it names.
pub(super) fn of_write(server: &str, status: &Status, lease: LeaseId) -> BackingError {
    let error = match (status.code(), text(status)) {
        (Code::Unavailable, "no leader") => WriteError::NoLeader,
        (Code::Unavailable, "leader changed") => WriteError::LeaderChanged,
        (Code::Unavailable, text) if text.starts_with("request timed out") => WriteError::Timeout,
        (Code::ResourceExhausted, "mvcc: database space exceeded") => WriteError::NoSpaceAlarm,
        (Code::DataLoss, "corrupt cluster") => WriteError::CorruptAlarm,
        (Code::NotFound, "requested lease not found") => WriteError::LeaseNotFound(lease),
        // The server's bound, which it does not tell.
        (Code::InvalidArgument, "request is too large") => {
            WriteError::TooLarge { bytes: 0, max: REQUEST_BYTES_MAX }
        }
        _ => match attempt(status) {
            Attempt::Answered => return refused(status),
            Attempt::Undone => return unreachable(server, status),
            Attempt::Unknown => WriteError::Unknown(format!("{server}: {}", cause(status))),
        },
    };
    error.into()
}

/// etcd's default of `--max-request-bytes`.
const REQUEST_BYTES_MAX: usize = 1536 * 1024;

/// To a lease's grant.
pub(super) fn of_lease(server: &str, status: &Status) -> BackingError {
    match of_write(server, status, LeaseId::NONE) {
        BackingError::Write(error) => LeaseError::Write(error).into(),
        other => other,
    }
}

/// To a compaction.
pub(super) fn of_compact(server: &str, status: &Status, wanted: Revision, seen: Revision) -> BackingError {
    match of_range(server, status, wanted, seen) {
        BackingError::Range(RangeError::Compacted { wanted, floor }) => {
            CompactError::Compacted { wanted, floor }.into()
        }
        BackingError::Range(RangeError::FutureRevision { wanted, current }) => {
            CompactError::FutureRevision { wanted, current }.into()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: Code, text: &str) -> Status {
        Status::new(code, format!("etcdserver: {text}"))
    }

    #[test]
    fn a_write_is_not_repeated_when_it_may_have_happened() {
        for (status, wanted) in [
            (status(Code::Unavailable, "no leader"), Attempt::Undone),
            (status(Code::FailedPrecondition, "rpc not supported for learner"), Attempt::Undone),
            (status(Code::Unavailable, "leader changed"), Attempt::Unknown),
            (status(Code::Unavailable, "request timed out"), Attempt::Unknown),
            (Status::deadline_exceeded("no answer in time"), Attempt::Unknown),
            (status(Code::PermissionDenied, "permission denied"), Attempt::Answered),
            (status(Code::InvalidArgument, "request is too large"), Attempt::Answered),
        ] {
            assert_eq!(attempt(&status), wanted, "{status}");
        }
    }

    #[test]
    fn etcds_texts_become_the_librarys_errors() {
        let compacted = status(Code::OutOfRange, "mvcc: required revision has been compacted");
        assert!(of_range("s", &compacted, Revision(5), Revision(9)).is_compacted());
        assert!(of_compact("s", &compacted, Revision(5), Revision(9)).is_compacted());
        let write = |status: &Status| of_write("s", status, LeaseId(7));
        let lost = write(&status(Code::Unavailable, "request timed out"));
        assert!(matches!(lost, BackingError::Write(WriteError::Timeout)), "{lost}");
        let full = write(&status(Code::ResourceExhausted, "mvcc: database space exceeded"));
        assert!(matches!(full, BackingError::Write(WriteError::NoSpaceAlarm)), "{full}");
        let denied = write(&status(Code::PermissionDenied, "permission denied"));
        assert_eq!(denied.to_string(), "the store refused: PermissionDenied: etcdserver: permission denied");
    }
}
