//! Whether all that clients were told fits together.
//!
//! The store numbers its writes: that order is the one to be checked. A history of calls is linearizable if in it every write stands where
//! its answer says, every read returns what was newest at its revision, and a call that began after another had ended does not stand before
//! it. Writes without an answer may be in the history or not, but never twice.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use mainstay_proto_wire::etcd::{etcdserverpb as pb, mvccpb};
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;
use tonic::transport::Channel;

use crate::SOON;
use crate::clients::LAST_KEY;

/// One event, as a watcher saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) revision: i64,
    pub(crate) key: String,
    pub(crate) value: String,
    version: i64,
}

impl Seen {
    pub(crate) fn of(event: mvccpb::Event) -> Self {
        let kv = event.kv.unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Self { revision: kv.mod_revision, key: text(&kv.key), value: text(&kv.value), version: kv.version }
    }
}

/// What a client asked for. Values are unique.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Put {
        key: String,
        value: String,
    },
    /// `found` is the value with its revision.
    Read {
        key: String,
        found: Option<(String, i64)>,
    },
}

impl What {
    pub(crate) fn answered(self, read: Option<&mvccpb::KeyValue>) -> Self {
        match self {
            Self::Read { key, .. } => {
                let found = read.map(|kv| (String::from_utf8(kv.value.to_vec()).unwrap(), kv.mod_revision));
                Self::Read { key, found }
            }
            put @ Self::Put { .. } => put,
        }
    }
}

/// A call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) what: What,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    /// Its answer's revision; none if there was no answer.
    pub(crate) revision: Option<i64>,
}

/// All events there ever were.
pub(crate) struct History(Vec<Seen>);

impl History {
    /// Watches from the beginning to the last key.
    pub(crate) async fn read(channel: Channel) -> Self {
        let create = pb::WatchCreateRequest {
            key: "k/".into(),
            range_end: "k0".into(),
            start_revision: 1,
            ..Default::default()
        };
        let request = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let requests =
            futures::StreamExt::chain(futures::stream::iter([request]), futures::stream::pending());
        let mut answers = WatchClient::new(channel).watch(requests).await.unwrap().into_inner();
        let mut events: Vec<Seen> = Vec::new();
        while events.last().is_none_or(|last| last.key != LAST_KEY) {
            let answer = tokio::time::timeout(SOON, answers.message()).await.unwrap().unwrap().unwrap();
            events.extend(answer.events.into_iter().map(Seen::of));
        }
        Self(events)
    }

    pub(crate) fn revision(&self) -> i64 {
        self.0.last().unwrap().revision
    }

    /// The newest write of a key up to a revision.
    fn at(&self, key: &str, revision: i64) -> Option<&Seen> {
        let end = self.0.partition_point(|event| event.revision <= revision);
        self.0[..end].iter().rev().find(|event| event.key == key)
    }
}

/// Each watcher saw all of it, once, in order.
pub(crate) fn watchers(watchers: &[Vec<Seen>], history: &History) {
    for (number, seen) in watchers.iter().enumerate() {
        for (found, wanted) in seen.iter().zip(&history.0) {
            assert_eq!(found, wanted, "watcher {number}");
        }
        assert_eq!(seen.len(), history.0.len(), "watcher {number} saw another number of events");
    }
}

/// No acknowledged write is lost, and the calls are linearizable.
pub(crate) fn calls(calls: &[Call], history: &History) {
    let mut written: HashMap<&str, i64> = HashMap::new();
    for event in &history.0 {
        let before = written.insert(&event.value, event.revision);
        assert!(before.is_none(), "{} was written twice", event.value);
    }
    for call in calls {
        let Some(revision) = call.revision else { continue };
        match &call.what {
            What::Put { key, value } => {
                let event = history.at(key, revision);
                let is_there = event.is_some_and(|event| event.revision == revision && event.value == *value);
                assert!(is_there, "an acknowledged write is lost: {call:?}; there is {event:?}");
            }
            What::Read { key, found } => {
                let wanted = history.at(key, revision).map(|event| (event.value.clone(), event.revision));
                assert_eq!(*found, wanted, "a read at revision {revision} is wrong: {call:?}");
            }
        }
    }
    real_time(calls);
}

/// Of calls that began after others had ended none stands before them.
fn real_time(calls: &[Call]) {
    let mut ends: Vec<(Instant, i64)> =
        calls.iter().filter_map(|call| Some((call.ended, call.revision?))).collect();
    ends.sort_unstable();
    // For each end, the highest revision that any call ended by then had.
    let mut highest: BTreeMap<Instant, i64> = BTreeMap::new();
    let mut most = 0;
    for (ended, revision) in ends {
        most = most.max(revision);
        highest.insert(ended, most);
    }
    for call in calls {
        let Some(revision) = call.revision else { continue };
        let Some((_, before)) = highest.range(..call.began).next_back() else { continue };
        let stale = match call.what {
            What::Put { .. } => revision <= *before,
            What::Read { .. } => revision < *before,
        };
        assert!(!stale, "stale: {call:?} began when revision {before} had been answered");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn history() -> History {
        let event = |revision, key: &str, value: &str| Seen {
            revision,
            key: key.into(),
            value: value.into(),
            version: 1,
        };
        History(vec![event(2, "k/0", "a"), event(3, "k/1", "b"), event(4, "k/0", "c")])
    }

    fn call(what: What, began: u64, ended: u64, revision: i64) -> Call {
        let start = Instant::now();
        let at = |millis| start + Duration::from_secs(60) + Duration::from_millis(millis);
        Call { what, began: at(began), ended: at(ended), revision: Some(revision) }
    }

    fn put(key: &str, value: &str) -> What {
        What::Put { key: key.into(), value: value.into() }
    }

    fn read(key: &str, value: &str, revision: i64) -> What {
        What::Read { key: key.into(), found: Some((value.into(), revision)) }
    }

    #[test]
    fn what_fits_is_taken() {
        calls(&[call(put("k/0", "a"), 0, 10, 2), call(read("k/0", "a", 2), 20, 30, 3)], &history());
    }

    #[test]
    #[should_panic(expected = "an acknowledged write is lost")]
    fn a_lost_write_is_found() {
        calls(&[call(put("k/0", "lost"), 0, 10, 3)], &history());
    }

    #[test]
    #[should_panic(expected = "is wrong")]
    fn a_wrong_read_is_found() {
        calls(&[call(read("k/0", "a", 2), 0, 10, 4)], &history());
    }

    #[test]
    #[should_panic(expected = "stale")]
    fn a_stale_read_is_found() {
        let start = Instant::now() + Duration::from_secs(60);
        let at = |millis| start + Duration::from_millis(millis);
        let first = Call { what: put("k/0", "c"), began: at(0), ended: at(10), revision: Some(4) };
        let stale = Call { what: read("k/0", "a", 2), began: at(20), ended: at(30), revision: Some(3) };
        calls(&[first, stale], &history());
    }

    #[test]
    #[should_panic(expected = "watcher 0")]
    fn a_gap_is_found() {
        let all = history();
        watchers(&[vec![all.0[0].clone(), all.0[2].clone()]], &all);
    }
}
