//! What the messages of a watch say. Pure.

use mainstay_proto_wire::etcd::etcdserverpb as pb;
use mainstay_proto_wire::etcd::mvccpb::event::EventType;
use mainstay_store::{Event, EventKind, KeyValue, Revision, WatchBatch};

use super::convert;
use super::keys::KeySpace;

/// One message of a watch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The watch stands.
    Created,
    /// Changes, a batch for each revision; none of them may be ours. Or that there were none up to a revision.
    Changes(Vec<WatchBatch>),
    /// What was to come is compacted up to here.
    Compacted(Revision),
    /// The watch ended for another reason.
    Ended(String),
}

/// Reads a message.
pub(super) fn read(keys: &KeySpace, response: pb::WatchResponse) -> Told {
    if response.compact_revision > 0 {
        return Told::Compacted(Revision(response.compact_revision));
    }
    if response.canceled {
        return Told::Ended(response.cancel_reason);
    }
    if response.created {
        return Told::Created;
    }
    if response.events.is_empty() {
        let revision = convert::revision(response.header.as_ref());
        return Told::Changes(vec![WatchBatch { revision, events: Vec::new() }]);
    }
    let mut batches: Vec<WatchBatch> = Vec::new();
    for event in response.events {
        let is_delete = event.r#type == i32::from(EventType::Delete);
        let Some(kv) = event.kv else { continue };
        let revision = Revision(kv.mod_revision);
        let batch = match batches.last_mut() {
            Some(last) if last.revision == revision => last,
            _ => {
                batches.push(WatchBatch { revision, events: Vec::new() });
                let Some(last) = batches.last_mut() else { continue };
                last
            }
        };
        let Some(kv) = convert::key_value(keys, kv) else { continue };
        batch.events.push(if is_delete {
            let kv = KeyValue { key: kv.key, mod_revision: revision, ..KeyValue::default() };
            Event { kind: EventKind::Delete, kv, prev: None }
        } else {
            Event { kind: EventKind::Put, kv, prev: None }
        });
    }
    Told::Changes(batches)
}

/// Whether a server of this version tells progress only after the events before it, when it is asked to. Others tell it
/// too early (etcd issue 15220; kube-apiserver goes by the same versions).
pub(super) fn progress_can_be_asked(version: &str) -> bool {
    let mut parts = version.split(['.', '-', '+']).map(|part| part.parse::<u32>().ok());
    match (parts.next().flatten(), parts.next().flatten(), parts.next().flatten()) {
        (Some(3), Some(4), Some(patch)) => patch >= 31,
        (Some(3), Some(5), Some(patch)) => patch >= 13,
        (Some(3), Some(minor), _) => minor > 5,
        (Some(major), ..) => major > 3,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_proto_wire::etcd::mvccpb;

    fn event(key: &str, revision: i64, kind: EventType) -> mvccpb::Event {
        let kv =
            mvccpb::KeyValue { key: key.to_owned().into(), mod_revision: revision, ..Default::default() };
        mvccpb::Event { r#type: kind.into(), kv: Some(kv), prev_kv: None }
    }

    #[test]
    fn a_message_is_split_by_revision_and_others_keys_only_tell_the_revision() {
        let events = vec![
            event("/registry/pods/a/b", 5, EventType::Put),
            event("/registry/pods/a/c", 5, EventType::Delete),
            event("/elsewhere", 6, EventType::Put),
            event("/registry/pods/a/d", 8, EventType::Put),
        ];
        let told = read(&KeySpace::new("/registry"), pb::WatchResponse { events, ..Default::default() });
        let Told::Changes(batches) = told else { panic!("{told:?}") };
        let shape: Vec<_> = batches.iter().map(|batch| (batch.revision.0, batch.events.len())).collect();
        assert_eq!(shape, [(5, 2), (6, 0), (8, 1)]);
        assert_eq!(batches[0].events[1].kind, EventKind::Delete);
    }

    #[test]
    fn ends_are_told_apart() {
        let read = |response| read(&KeySpace::new("/registry"), response);
        let compacted = pb::WatchResponse { canceled: true, compact_revision: 9, ..Default::default() };
        assert_eq!(read(compacted), Told::Compacted(Revision(9)));
        let reason = "etcdserver: no leader".to_owned();
        let ended = pb::WatchResponse { canceled: true, cancel_reason: reason.clone(), ..Default::default() };
        assert_eq!(read(ended), Told::Ended(reason));
        let header = Some(pb::ResponseHeader { revision: 7, ..Default::default() });
        let created = pb::WatchResponse { created: true, header, ..Default::default() };
        assert_eq!(read(created), Told::Created);
        let progress = pb::WatchResponse { header, ..Default::default() };
        let wanted = WatchBatch { revision: Revision(7), events: Vec::new() };
        assert_eq!(read(progress), Told::Changes(vec![wanted]));
    }

    #[test]
    fn progress_is_asked_of_versions_that_tell_it_in_order() {
        for (version, can) in [
            ("3.6.7", true),
            ("3.5.13", true),
            ("3.5.1", false),
            ("3.4.31", true),
            ("3.4.30", false),
            ("3.7.0-alpha.0", true),
            ("4.0.0", true),
            ("nonsense", false),
        ] {
            assert_eq!(progress_can_be_asked(version), can, "{version}");
        }
    }
}
