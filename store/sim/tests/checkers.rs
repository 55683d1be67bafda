//! The checkers of answers notice what they should: each test is a history with one thing wrong in it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use mainstay_store::{
    Compare, DeleteRangeRequest, DeleteRangeResponse, Event, EventKind, KeyValue, OpResponse, PutRequest,
    PutResponse, RangeRequest, RangeResponse, Revision, Txn, TxnResponse, WatchBatch,
};
use mainstay_store_sim::check::{
    Answer, Archive, Call, Outcome, Request, check_linearizable, check_revisions,
};

fn at(tenths: u64) -> Duration {
    Duration::from_millis(100 * tenths)
}

fn kv(key: &'static str, value: &'static str, created: i64, modified: i64, version: i64) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: value.into(),
        create_revision: Revision(created),
        mod_revision: Revision(modified),
        version,
        ..KeyValue::default()
    }
}

fn put(called: u64, returned: u64, key: &'static str, value: &'static str, revision: i64) -> Call {
    let answer = Answer::Put(PutResponse { revision: Revision(revision), prev: None });
    Call {
        called: at(called),
        request: Request::Put(PutRequest::new(key, value)),
        outcome: Outcome::Answered(at(returned), answer),
    }
}

fn get(called: u64, returned: u64, key: &'static str, found: Option<KeyValue>, revision: i64) -> Call {
    let kvs: Vec<KeyValue> = found.into_iter().collect();
    let count = kvs.len() as u64;
    let answer = Answer::Range(RangeResponse { revision: Revision(revision), kvs, more: false, count });
    Call {
        called: at(called),
        request: Request::Range { range: RangeRequest::key(key), stale: false },
        outcome: Outcome::Answered(at(returned), answer),
    }
}

/// a=1 at revision 2, a=2 at 3, b=3 at 4, and a deleted at 5.
fn archive() -> Archive {
    let event = |kv: KeyValue, prev| Event { kind: EventKind::Put, kv, prev };
    let gone = KeyValue { key: Bytes::from_static(b"a"), mod_revision: Revision(5), ..KeyValue::default() };
    let events = [
        event(kv("a", "1", 2, 2, 1), None),
        event(kv("a", "2", 2, 3, 2), Some(kv("a", "1", 2, 2, 1))),
        event(kv("b", "3", 4, 4, 1), None),
        Event { kind: EventKind::Delete, kv: gone, prev: Some(kv("a", "2", 2, 3, 2)) },
    ];
    let batches: Vec<WatchBatch> = (2..)
        .zip(events)
        .map(|(revision, event)| WatchBatch { revision: Revision(revision), events: vec![event] })
        .collect();
    let seen = BTreeMap::from([(2, at(1)), (3, at(3)), (4, at(5)), (5, at(7))]);
    Archive::new(&batches, seen).unwrap()
}

fn delete(called: u64, returned: u64) -> Call {
    let answer = Answer::Delete(DeleteRangeResponse { revision: Revision(5), deleted: 1, prev: Vec::new() });
    Call {
        called: at(called),
        request: Request::Delete(DeleteRangeRequest::key("a")),
        outcome: Outcome::Answered(at(returned), answer),
    }
}

fn good() -> Vec<Call> {
    vec![put(0, 1, "a", "1", 2), put(2, 3, "a", "2", 3), put(4, 5, "b", "3", 4), delete(6, 7)]
}

fn problems(calls: &[Call]) -> String {
    let mut found = check_revisions(calls, &archive(), |_| false);
    found.extend(check_linearizable(calls, &archive(), |_| true).problems);
    found.join("; ")
}

fn with(call: Call) -> Vec<Call> {
    let mut calls = good();
    calls.push(call);
    calls
}

#[test]
fn a_good_history_passes() {
    let mut calls = with(get(2, 3, "a", Some(kv("a", "1", 2, 2, 1)), 2));
    calls.push(get(5, 7, "a", Some(kv("a", "2", 2, 3, 2)), 4));
    calls.push(get(8, 9, "a", None, 5));
    assert_eq!(problems(&calls), "");
}

#[test]
fn a_stale_read_is_found_twice() {
    let found = problems(&with(get(8, 9, "a", Some(kv("a", "2", 2, 3, 2)), 4)));
    assert!(found.contains("time goes back"), "{found}");
    assert!(found.contains("not linearizable"), "{found}");
}

#[test]
fn a_stale_read_with_a_forged_revision_is_found() {
    let found = problems(&with(get(8, 9, "a", Some(kv("a", "2", 2, 3, 2)), 5)));
    assert!(found.contains("the answer should be"), "{found}");
    assert!(found.contains("not linearizable"), "{found}");
}

#[test]
fn an_acknowledged_write_that_is_nowhere_is_found() {
    let found = problems(&with(put(8, 9, "c", "9", 6)));
    assert!(found.contains("history ends"), "{found}");
    let found = problems(&with(put(8, 9, "c", "9", 5)));
    assert!(found.contains("the answer should be"), "{found}");
}

#[test]
fn a_refused_write_that_took_effect_is_found() {
    let mut calls = good();
    calls[2].outcome = Outcome::Refused("no".into());
    assert!(problems(&calls).contains("a refused write took effect"));
    calls[2].outcome = Outcome::Unknown("who knows".into());
    assert_eq!(problems(&calls), "");
}

#[test]
fn a_write_that_nobody_asked_for_is_found() {
    let mut calls = good();
    calls.remove(2);
    assert!(problems(&calls).contains("nobody asked for"));
    let mut calls = good();
    calls.pop();
    assert!(problems(&calls).contains("nobody asked for"), "a delete");
}

#[test]
fn a_wrong_version_before_is_found() {
    let mut calls = good();
    let prev = kv("a", "0", 2, 2, 1);
    calls[1] = Call {
        request: Request::Put(PutRequest { prev_kv: true, ..PutRequest::new("a", "2") }),
        outcome: Outcome::Answered(
            at(3),
            Answer::Put(PutResponse { revision: Revision(3), prev: Some(prev) }),
        ),
        ..calls[1].clone()
    };
    let found = problems(&calls);
    assert!(found.contains("the answer should be") && found.contains("not linearizable"), "{found}");
}

#[test]
fn a_compare_and_swap_that_should_have_failed_is_found() {
    // It saw a=1 (revision 2), but a=2 was there; it claims to have made revision 4.
    let mut calls = good();
    let put = PutResponse { revision: Revision(4), prev: None };
    let txn = Txn::when([Compare::unchanged("a", Revision(2))]).then([PutRequest::new("b", "3")]);
    let answer =
        TxnResponse { revision: Revision(4), succeeded: true, responses: vec![OpResponse::Put(put)] };
    calls[2] = Call {
        request: Request::Txn(txn),
        outcome: Outcome::Answered(at(5), Answer::Txn(answer)),
        ..calls[2].clone()
    };
    let found = problems(&calls);
    assert!(found.contains("the answer should be") && found.contains("not linearizable"), "{found}");
}

#[test]
fn a_range_that_lacks_a_key_is_found() {
    let answer =
        RangeResponse { revision: Revision(4), kvs: vec![kv("b", "3", 4, 4, 1)], more: false, count: 1 };
    let call = Call {
        called: at(5),
        request: Request::Range { range: RangeRequest::all(), stale: false },
        outcome: Outcome::Answered(at(5), Answer::Range(answer)),
    };
    let found = problems(&with(call));
    assert!(found.contains("the answer should be") && found.contains("not linearizable"), "{found}");
}

#[test]
fn two_writes_with_one_revision_are_found() {
    let found = problems(&with(put(4, 5, "b", "3x", 4)));
    assert!(found.contains("one revision"), "{found}");
}
