//! The guarantees of a watch, against the history: ordered, unique, atomic, without gap, filtered as asked, resumable, and progress never
//! ahead of events.
use mainstay_store::{Event, EventKind, Revision, WatchBatch, WatchError, WatchRequest};

use super::{Archive, inside};

/// One watch from its opening to its end, as the client saw it.
#[derive(Clone, Debug)]
pub struct Session {
    /// What was asked for.
    pub request: WatchRequest,
    /// The first revision to deliver: the one asked for, or the one after the member's revision when it opened the watch.
    pub start: Revision,
    /// What came, in order.
    pub batches: Vec<WatchBatch>,
    /// Why the store ended it; none if the client or the connection did.
    pub ended: Option<WatchError>,
}

impl Session {
    /// Where a successor has to go on.
    pub fn next(&self) -> Revision {
        self.batches.last().map_or(self.start, |batch| self.start.max(batch.revision.next()))
    }
}

/// Checks a session. `compacted` is the highest revision that anyone asked to compact.
pub fn check_session(session: &Session, archive: &Archive, compacted: Revision) -> Vec<String> {
    let mut problems = Vec::new();
    let about = |what: String| format!("watch {:?} from {}: {what}", session.request, session.start);
    let mut position = session.start;
    for batch in &session.batches {
        if batch.events.is_empty() {
            if let Some(missed) = first_match(archive, session, position, batch.revision) {
                problems
                    .push(about(format!("progress {} came before the events of {missed}", batch.revision)));
            }
            if batch.revision.next() < position {
                problems.push(about(format!("progress goes back to {} from {position}", batch.revision)));
            }
            if !session.request.progress {
                problems.push(about("progress that nobody asked for".into()));
            }
            position = position.max(batch.revision.next());
            continue;
        }
        if batch.revision < position {
            problems.push(about(format!("revision {} came again or late, after {position}", batch.revision)));
            continue;
        }
        if let Some(missed) = first_match(archive, session, position, batch.revision.previous()) {
            problems.push(about(format!("the events of {missed} are missing before {}", batch.revision)));
        }
        let expected = matching(archive, session, batch.revision);
        if expected.is_empty() || !same(&batch.events, &expected, compacted) {
            problems.push(about(format!(
                "revision {} should have {expected:?}, not {:?}",
                batch.revision, batch.events
            )));
        }
        position = batch.revision.next();
    }
    match &session.ended {
        Some(WatchError::Compacted { floor }) if *floor > compacted => {
            problems.push(about(format!(
                "ended by a compaction to {floor}, but nobody asked for more than {compacted}"
            )));
        }
        Some(WatchError::Compacted { floor }) if *floor <= session.start && session.batches.is_empty() => {
            problems.push(about(format!("refused for a compaction to {floor}, which leaves its start")));
        }
        Some(WatchError::Engine(error)) => problems.push(about(format!("ended by {error}"))),
        Some(_) | None => {}
    }
    problems
}

/// The first revision between two (inclusive) with an event for the session.
fn first_match(archive: &Archive, session: &Session, from: Revision, to: Revision) -> Option<Revision> {
    (from <= to)
        .then(|| archive.events.range(from.0..=to.0))?
        .map(|(revision, _)| Revision(*revision))
        .find(|revision| !matching(archive, session, *revision).is_empty())
}

fn matching(archive: &Archive, session: &Session, revision: Revision) -> Vec<Event> {
    let request = &session.request;
    archive
        .events
        .get(&revision.0)
        .into_iter()
        .flatten()
        .filter(|event| inside(&event.kv.key, &request.key, request.range_end.as_deref()))
        .filter(|event| match event.kind {
            EventKind::Put => !request.filter_put,
            EventKind::Delete => !request.filter_delete,
        })
        .map(|event| Event { prev: event.prev.clone().filter(|_| request.prev_kv), ..event.clone() })
        .collect()
}

/// The same events; the version before may be missing where it can have been compacted away.
fn same(found: &[Event], expected: &[Event], compacted: Revision) -> bool {
    found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, expected)| {
            let compacted_away = found.prev.is_none() && expected.kv.mod_revision <= compacted;
            found.kind == expected.kind
                && found.kv == expected.kv
                && (found.prev == expected.prev || compacted_away)
        })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use mainstay_store::KeyValue;

    use super::*;

    fn put(revision: i64, key: &'static str, prev: Option<i64>, version: i64) -> Event {
        let kv = |revision: i64, version| KeyValue {
            key: key.into(),
            value: Bytes::from(format!("v{revision}")),
            create_revision: Revision(if version == 1 { revision } else { 2 }),
            mod_revision: Revision(revision),
            version,
            ..KeyValue::default()
        };
        Event {
            kind: EventKind::Put,
            kv: kv(revision, version),
            prev: prev.map(|prev| kv(prev, version - 1)),
        }
    }

    fn batch(revision: i64, events: Vec<Event>) -> WatchBatch {
        WatchBatch { revision: Revision(revision), events }
    }

    fn history() -> Vec<WatchBatch> {
        vec![
            batch(2, vec![put(2, "a", None, 1), put(2, "b", None, 1)]),
            batch(3, vec![put(3, "a", Some(2), 2)]),
            batch(4, vec![put(4, "c", None, 1)]),
            batch(5, vec![put(5, "a", Some(3), 3)]),
        ]
    }

    fn archive() -> Archive {
        Archive::new(&history(), BTreeMap::new()).unwrap()
    }

    fn session(batches: Vec<WatchBatch>) -> Session {
        let request = WatchRequest { prev_kv: true, progress: true, ..WatchRequest::prefix("") };
        Session { request, start: Revision(2), batches, ended: None }
    }

    fn problems(batches: Vec<WatchBatch>) -> String {
        check_session(&session(batches), &archive(), Revision(0)).join("; ")
    }

    #[test]
    fn the_whole_history_and_progress_behind_it_are_right() {
        let mut batches = history();
        batches.insert(2, batch(3, vec![]));
        batches.push(batch(5, vec![]));
        assert_eq!(problems(batches), "");
    }

    #[test]
    fn a_gap_is_found() {
        let mut batches = history();
        batches.remove(1);
        assert!(problems(batches).contains("missing"));
    }

    #[test]
    fn a_repeat_and_a_wrong_order_are_found() {
        let mut batches = history();
        batches.insert(2, batches[1].clone());
        assert!(problems(batches).contains("again"));
        let mut batches = history();
        batches.swap(1, 2);
        assert!(problems(batches).contains("again or late"));
    }

    #[test]
    fn half_a_revision_is_found() {
        let mut batches = history();
        batches[0].events.pop();
        assert!(problems(batches).contains("revision 2 should have"));
    }

    #[test]
    fn progress_ahead_of_events_is_found() {
        let mut batches = history();
        batches.insert(2, batch(4, vec![]));
        assert!(problems(batches).contains("progress 4 came before"));
    }

    #[test]
    fn progress_that_goes_back_is_found() {
        let mut batches = history();
        batches.push(batch(3, vec![]));
        assert!(problems(batches).contains("goes back"));
    }

    #[test]
    fn a_wrong_version_before_is_found() {
        let mut batches = history();
        batches[1].events[0].prev = None;
        assert!(problems(batches).contains("revision 3 should have"));
    }

    #[test]
    fn what_a_filter_leaves_out_must_not_come() {
        let mut wrong = session(history());
        wrong.request.filter_put = true;
        assert!(!check_session(&wrong, &archive(), Revision(0)).is_empty());
        let mut keys = session(vec![batch(2, vec![put(2, "b", None, 1)])]);
        keys.request = WatchRequest { prev_kv: true, ..WatchRequest::key("b") };
        assert_eq!(check_session(&keys, &archive(), Revision(0)), Vec::<String>::new());
    }

    #[test]
    fn an_end_by_a_compaction_that_nobody_asked_for_is_found() {
        let mut ended = session(vec![]);
        ended.ended = Some(WatchError::Compacted { floor: Revision(4) });
        assert!(!check_session(&ended, &archive(), Revision(3)).is_empty());
        assert!(check_session(&ended, &archive(), Revision(4)).is_empty());
        ended.start = Revision(4);
        assert!(!check_session(&ended, &archive(), Revision(4)).is_empty(), "its start was still there");
    }

    #[test]
    fn an_archive_with_a_gap_or_a_contradiction_is_refused() {
        let mut gap = history();
        gap.remove(2);
        assert!(Archive::new(&gap, BTreeMap::new()).unwrap_err().contains("gap"));
        let mut wrong = history();
        wrong[3].events[0].prev = None;
        assert!(Archive::new(&wrong, BTreeMap::new()).unwrap_err().contains("version before"));
    }
}
