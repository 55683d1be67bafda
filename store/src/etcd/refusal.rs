//! The one place that turns the library's errors into etcd's codes and texts.
use tonic::{Code, Status};

use crate::api::{
    AuthCallError, AuthError, ClusterError, CompactError, LeaseError, RangeError, WatchError, WriteError,
};
use crate::snapshot::SnapshotError;

/// An error that etcd's clients know by its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    code: Code,
    text: &'static str,
}

impl Refusal {
    pub(crate) const fn new(code: Code, text: &'static str) -> Self {
        Self { code, text }
    }

    pub(crate) const fn text(self) -> &'static str {
        self.text
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code, refusal.text)
    }
}

macro_rules! refusals {
    ($($name:ident = $code:ident, $text:literal;)*) => {
        $(pub(crate) const $name: Refusal = Refusal::new(Code::$code, concat!("etcdserver: ", $text));)*
    };
}

// As etcd's api/v3rpc/rpctypes/error.go has them.
refusals! {
    EMPTY_KEY = InvalidArgument, "key is not provided";
    KEY_NOT_FOUND = InvalidArgument, "key not found";
    VALUE_PROVIDED = InvalidArgument, "value is provided";
    LEASE_PROVIDED = InvalidArgument, "lease is provided";
    TOO_MANY_OPS = InvalidArgument, "too many operations in txn request";
    DUPLICATE_KEY = InvalidArgument, "duplicate key given in txn request";
    INVALID_SORT_OPTION = InvalidArgument, "invalid sort option";
    COMPACTED = OutOfRange, "mvcc: required revision has been compacted";
    FUTURE_REVISION = OutOfRange, "mvcc: required revision is a future revision";
    NO_SPACE = ResourceExhausted, "mvcc: database space exceeded";
    LEASE_NOT_FOUND = NotFound, "requested lease not found";
    LEASE_EXISTS = FailedPrecondition, "lease already exists";
    LEASE_TTL_TOO_LARGE = OutOfRange, "too large lease TTL";
    MEMBER_EXISTS = FailedPrecondition, "member ID already exist";
    PEER_URL_EXISTS = FailedPrecondition, "Peer URLs already exists";
    NOT_ENOUGH_STARTED = FailedPrecondition, "re-configuration failed due to not enough started members";
    MEMBER_BAD_URLS = InvalidArgument, "given member URLs are invalid";
    MEMBER_NOT_LEARNER = FailedPrecondition, "can only promote a learner member";
    LEARNER_NOT_READY = FailedPrecondition, "can only promote a learner member which is in sync with leader";
    TOO_MANY_LEARNERS = FailedPrecondition, "too many learner members in cluster";
    NOT_SUPPORTED_FOR_LEARNER = FailedPrecondition, "rpc not supported for learner";
    NOT_LEADER = FailedPrecondition, "not leader";
    LEADER_CHANGED = Unavailable, "leader changed";
    CORRUPT = DataLoss, "corrupt cluster";
    UNHEALTHY = Unavailable, "unhealthy cluster";
    TIMEOUT_LEADER_TRANSFER = Unavailable, "request timed out, leader transfer took too long";
    MEMBER_NOT_FOUND = NotFound, "member not found";
    REQUEST_TOO_LARGE = InvalidArgument, "request is too large";
    TOO_MANY_REQUESTS = ResourceExhausted, "too many requests";
    NO_LEADER = Unavailable, "no leader";
    STOPPED = Unavailable, "server stopped";
    BAD_LEADER_TRANSFEREE = FailedPrecondition, "bad leader transferee";
    TIMEOUT = Unavailable, "request timed out";
    WRONG_DOWNGRADE_VERSION = InvalidArgument, "wrong downgrade target version format";
    INVALID_DOWNGRADE_TARGET = InvalidArgument, "invalid downgrade target version";
    NO_INFLIGHT_DOWNGRADE = FailedPrecondition, "no inflight downgrade job";
}

/// To a caller who may not. The texts are the library's, which has them from etcd.
pub(crate) fn of_auth(error: AuthError) -> Status {
    let code = match error {
        AuthError::UserEmpty
        | AuthError::RoleEmpty
        | AuthError::AuthFailed
        | AuthError::PermissionNotGiven
        | AuthError::InvalidAuthMgmt
        | AuthError::OldRevision => Code::InvalidArgument,
        AuthError::PermissionDenied => Code::PermissionDenied,
        AuthError::InvalidAuthToken => Code::Unauthenticated,
        AuthError::RootUserNotExist
        | AuthError::RootRoleNotExist
        | AuthError::UserAlreadyExist
        | AuthError::UserNotFound
        | AuthError::RoleAlreadyExist
        | AuthError::RoleNotFound
        | AuthError::RoleNotGranted
        | AuthError::PermissionNotGranted
        | AuthError::NotEnabled => Code::FailedPrecondition,
    };
    Status::new(code, format!("etcdserver: {error}"))
}

/// To a change of users or roles, or a question about them.
pub(crate) fn of_auth_call(error: &AuthCallError) -> Status {
    match error {
        AuthCallError::Refused(error) => of_auth(*error),
        AuthCallError::Write(error) => of_write(error),
        AuthCallError::Read(error) => of_range(error),
        AuthCallError::Hash(_) => Status::internal(error.to_string()),
    }
}

/// To a snapshot.
pub(crate) fn of_snapshot(error: &SnapshotError) -> Status {
    match error {
        SnapshotError::Auth(error) => of_auth(*error),
        SnapshotError::Engine(_) => Status::data_loss(error.to_string()),
        SnapshotError::Io { .. } => Status::resource_exhausted(error.to_string()),
        SnapshotError::Closed | SnapshotError::Halted(_) => STOPPED.into(),
    }
}

/// To a read.
pub(crate) fn of_range(error: &RangeError) -> Status {
    match error {
        RangeError::Compacted { .. } => COMPACTED.into(),
        RangeError::FutureRevision { .. } => FUTURE_REVISION.into(),
        RangeError::EmptyKey => EMPTY_KEY.into(),
        RangeError::Auth(error) => of_auth(*error),
        RangeError::NoLeader => NO_LEADER.into(),
        RangeError::Timeout => TIMEOUT.into(),
        RangeError::Engine(_) => Status::data_loss(error.to_string()),
        RangeError::Closed | RangeError::Halted(_) => STOPPED.into(),
    }
}

/// To a write.
pub(crate) fn of_write(error: &WriteError) -> Status {
    match error {
        WriteError::EmptyKey => EMPTY_KEY.into(),
        WriteError::KeyNotFound { .. } => KEY_NOT_FOUND.into(),
        WriteError::ValueProvided => VALUE_PROVIDED.into(),
        WriteError::LeaseProvided => LEASE_PROVIDED.into(),
        WriteError::DuplicateKey { .. } => DUPLICATE_KEY.into(),
        WriteError::TooManyOps { .. } | WriteError::TooDeep { .. } => TOO_MANY_OPS.into(),
        WriteError::TooLarge { .. } => REQUEST_TOO_LARGE.into(),
        WriteError::LeaseNotFound(_) => LEASE_NOT_FOUND.into(),
        WriteError::Compacted { .. } => COMPACTED.into(),
        WriteError::FutureRevision { .. } => FUTURE_REVISION.into(),
        WriteError::NoSpace { .. } | WriteError::NoSpaceAlarm => NO_SPACE.into(),
        WriteError::CorruptAlarm => CORRUPT.into(),
        WriteError::Auth(error) => of_auth(*error),
        WriteError::Read(_) => Status::data_loss(error.to_string()),
        WriteError::NoLeader => NO_LEADER.into(),
        WriteError::LeaderChanged => LEADER_CHANGED.into(),
        // The client must not take this for a write that did not happen.
        WriteError::Unknown(_) | WriteError::Timeout => TIMEOUT.into(),
        WriteError::Closed | WriteError::Halted(_) => STOPPED.into(),
    }
}

/// To a compaction.
pub(crate) fn of_compact(error: &CompactError) -> Status {
    match error {
        CompactError::Compacted { .. } => COMPACTED.into(),
        CompactError::FutureRevision { .. } => FUTURE_REVISION.into(),
        CompactError::Write(error) => of_write(error),
    }
}

/// To a call on a lease.
pub(crate) fn of_lease(error: &LeaseError) -> Status {
    match error {
        LeaseError::NotFound(_) => LEASE_NOT_FOUND.into(),
        LeaseError::Exists(_) => LEASE_EXISTS.into(),
        LeaseError::TtlTooLarge { .. } => LEASE_TTL_TOO_LARGE.into(),
        LeaseError::TooMany { .. } => TOO_MANY_REQUESTS.into(),
        LeaseError::Write(error) => of_write(error),
    }
}

/// To a call about members.
pub(crate) fn of_cluster(error: &ClusterError) -> Status {
    match error {
        ClusterError::MemberNotFound(_) => MEMBER_NOT_FOUND.into(),
        ClusterError::MemberExists(_) => MEMBER_EXISTS.into(),
        ClusterError::PeerUrlExists(_) => PEER_URL_EXISTS.into(),
        ClusterError::BadUrl(_) => MEMBER_BAD_URLS.into(),
        ClusterError::TooManyLearners { .. } => TOO_MANY_LEARNERS.into(),
        ClusterError::NotLearner(_) => MEMBER_NOT_LEARNER.into(),
        ClusterError::LearnerNotReady(_) => LEARNER_NOT_READY.into(),
        ClusterError::NotEnoughStarted => NOT_ENOUGH_STARTED.into(),
        ClusterError::Unhealthy => UNHEALTHY.into(),
        ClusterError::NotLeader => NOT_LEADER.into(),
        ClusterError::NoLeader => NO_LEADER.into(),
        ClusterError::LeaderChanged => LEADER_CHANGED.into(),
        ClusterError::Timeout => TIMEOUT.into(),
        ClusterError::TransferTimeout => TIMEOUT_LEADER_TRANSFER.into(),
        ClusterError::BadTransferee(_) => BAD_LEADER_TRANSFEREE.into(),
        ClusterError::Alone => Status::unimplemented(error.to_string()),
        ClusterError::Busy => TOO_MANY_REQUESTS.into(),
        ClusterError::Raft(_) => Status::unknown(error.to_string()),
        ClusterError::Closed | ClusterError::Halted(_) => STOPPED.into(),
    }
}

/// Why a watch ended, other than by compaction.
pub(crate) fn of_watch(error: &WatchError) -> Status {
    match error {
        WatchError::Compacted { .. } => COMPACTED.into(),
        WatchError::TooMany { .. } => TOO_MANY_REQUESTS.into(),
        WatchError::Auth(error) => of_auth(*error),
        WatchError::Engine(_) => Status::data_loss(error.to_string()),
        WatchError::Closed | WatchError::Halted(_) => STOPPED.into(),
    }
}
