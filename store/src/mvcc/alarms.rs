//! Which commands an alarm stops. Part of the decision: every member refuses the same ones.
use std::collections::BTreeSet;

use super::Command;
use crate::api::{Alarm, AlarmKind, Op, Txn, WriteError};

/// Why a command is refused while these alarms are raised.
pub(crate) fn refused_by_alarm(alarms: &BTreeSet<Alarm>, command: &Command) -> Option<WriteError> {
    if alarms.is_empty() {
        return None;
    }
    let raised = |kind| alarms.iter().any(|alarm| alarm.kind == kind);
    if raised(AlarmKind::Corrupt) && changes_keys(command) {
        return Some(WriteError::CorruptAlarm);
    }
    if raised(AlarmKind::NoSpace) && adds(command) {
        return Some(WriteError::NoSpaceAlarm);
    }
    None
}

fn changes_keys(command: &Command) -> bool {
    match command {
        Command::Put(_)
        | Command::DeleteRange(_)
        | Command::Txn(_)
        | Command::Compact(_)
        | Command::LeaseGrant { .. }
        | Command::LeaseRevoke(_) => true,
        Command::Alarm { .. } | Command::Auth(_) => false,
        Command::As { command, .. } => changes_keys(command),
    }
}

fn adds(command: &Command) -> bool {
    match command {
        Command::Put(_) | Command::LeaseGrant { .. } => true,
        Command::Txn(txn) => may_put(txn),
        _ => false,
    }
}

/// Whether any branch puts: which one would run is not known where the request is checked, and must not make a difference.
fn may_put(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        Op::Put(_) => true,
        Op::Txn(nested) => may_put(nested),
        Op::Range(_) | Op::Delete(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{DeleteRangeRequest, PutRequest, RangeRequest, Revision};

    fn refused(kind: AlarmKind, command: &Command) -> Option<WriteError> {
        refused_by_alarm(&BTreeSet::from([Alarm { member_id: 3, kind }]), command)
    }

    #[test]
    fn without_space_only_what_adds_is_refused() {
        let put = PutRequest::new("k", "v");
        let delete = DeleteRangeRequest::key("k");
        let adding = [
            Command::Put(put.clone()),
            Command::LeaseGrant { id: crate::LeaseId(1), ttl_seconds: 1, leases_max: 9 },
            Command::Txn(Txn::default().then([RangeRequest::key("k")]).otherwise([put.clone()])),
            Command::Txn(Txn::default().then([Op::Txn(Txn::default().then([put]))])),
        ];
        for command in &adding {
            assert_eq!(refused(AlarmKind::NoSpace, command), Some(WriteError::NoSpaceAlarm), "{command:?}");
            assert_eq!(refused_by_alarm(&BTreeSet::new(), command), None);
        }
        let passing = [
            Command::DeleteRange(delete.clone()),
            Command::Txn(Txn::default().then([delete])),
            Command::Compact(Revision(2)),
            Command::LeaseRevoke(crate::LeaseId(1)),
        ];
        for command in &passing {
            assert_eq!(refused(AlarmKind::NoSpace, command), None, "{command:?}");
            assert_eq!(refused(AlarmKind::Corrupt, command), Some(WriteError::CorruptAlarm), "{command:?}");
        }
    }

    #[test]
    fn alarms_can_be_disarmed_whatever_is_raised() {
        for kind in [AlarmKind::NoSpace, AlarmKind::Corrupt] {
            let command = Command::Alarm { alarm: Alarm { member_id: 1, kind }, raise: false };
            assert_eq!(refused(kind, &command), None);
        }
    }
}
