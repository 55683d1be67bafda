//! Where the log of a restored member begins.
//!
//! What was restored is in no entry of any log. So each founder of a restored cluster begins as if it had applied and purged one entry, which
//! none of them has: members that lack it (those that are added later, and a founder that was started without being restored) cannot be
//! brought up from the log. Consensus has to send them a snapshot.
use std::collections::BTreeMap;

use super::membership;
use super::types::{LogId, MemberNode, Membership, StoredMembership, log_id, term};
use crate::engine::{AppliedMark, EngineError, Group, Tables};

/// The entry that stands for what was restored. Term 0 has no leader; entry 0 is what each member writes that forms a cluster of its own accord.
fn restored_entry() -> LogId {
    log_id(0, 1)
}

/// Whether tables that were restored were never written to through a log, given how far they say that one was applied.
pub(crate) fn is_as_restored(mark: &AppliedMark) -> bool {
    mark.index.is_none_or(|index| index == restored_entry().index)
}

/// Makes restored tables begin after that entry, with the founders as members; on disk when this returns. Doing it again changes nothing. Blocks.
///
/// Consensus purges the log up to what the tables have when it starts: that is where the log's own record comes from.
pub(crate) fn begin(
    tables: &Tables,
    mark: AppliedMark,
    founders: Vec<(u64, MemberNode)>,
) -> Result<AppliedMark, EngineError> {
    let entry = restored_entry();
    let founders: BTreeMap<u64, MemberNode> = founders.into_iter().collect();
    let members = StoredMembership::new(Some(entry), Membership::from(founders));
    let mark = AppliedMark { index: Some(entry.index), term: term(&entry), ..mark };
    let mut group = Group::new();
    group.set_membership(&membership::encode_stored(&members));
    group.write(tables, mark)?;
    tables.flush()?;
    Ok(mark)
}
