//! What goes into the Raft log.
use crate::api::{Alarm, Caller, DeleteRangeRequest, LeaseId, PutRequest, Revision, Txn};
use crate::auth::AuthCommand;

/// One proposal. The request types of the API are stored as they came, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Put(PutRequest),
    DeleteRange(DeleteRangeRequest),
    Txn(Txn),
    Compact(Revision),
    LeaseGrant {
        id: LeaseId,
        ttl_seconds: u64,
        leases_max: usize,
    },
    LeaseRevoke(LeaseId),
    Auth(AuthCommand),
    /// A command on behalf of somebody, who is checked where it is applied. Without this a command is the embedder's own.
    As {
        caller: Caller,
        command: Box<Command>,
    },
    /// Raises or disarms an alarm.
    Alarm {
        alarm: Alarm,
        raise: bool,
    },
}

impl Command {
    /// The command itself, whoever it is for.
    pub(crate) fn itself(&self) -> &Self {
        match self {
            Self::As { command, .. } => command,
            own => own,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Put(_) => "put",
            Self::DeleteRange(_) => "delete range",
            Self::Txn(_) => "txn",
            Self::Compact(_) => "compact",
            Self::LeaseGrant { .. } => "lease grant",
            Self::LeaseRevoke(_) => "lease revoke",
            Self::Auth(_) => "auth",
            Self::As { command, .. } => command.name(),
            Self::Alarm { .. } => "alarm",
        }
    }
}
