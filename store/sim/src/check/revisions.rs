//! Every answer against the history by revision: the revisions are the witness of one order in which all answers are right, and time has to
//! agree with it. Also: what was refused did not happen, and what happened was asked for, once.
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use mainstay_store::{Event, EventKind, RangeResponse, Revision};

use super::{Answer, Archive, Call, Outcome, Request, State, interpret};

/// Checks all calls. `leased` tells the keys that the store may delete by itself.
pub fn check_revisions(calls: &[Call], archive: &Archive, leased: impl Fn(&[u8]) -> bool) -> Vec<String> {
    let mut problems = answers(calls, archive);
    problems.extend(real_time(calls));
    problems.extend(origins(calls, archive, leased));
    problems
}

/// Whether each answer is what the history says.
fn answers(calls: &[Call], archive: &Archive) -> Vec<String> {
    let mut problems = Vec::new();
    let mut at: BTreeMap<i64, Vec<(&Call, &Answer)>> = BTreeMap::new();
    for call in calls {
        let Some((_, answer)) = call.answer() else { continue };
        let revision = answer.revision();
        if revision > archive.last() {
            problems.push(format!(
                "an answer of revision {revision}, but history ends at {}: {call:?}",
                archive.last()
            ));
        }
        let wanted = match &call.request {
            Request::Range { range, .. } => range.revision.filter(|asked| asked.0 > 0).unwrap_or(revision),
            _ => revision,
        };
        at.entry(wanted.0).or_default().push((call, answer));
    }
    let mut before = State::new();
    archive.each_state(|revision, state, events| {
        for (call, answer) in at.get(&revision.0).into_iter().flatten() {
            if let Some(problem) = wrong_answer(call, answer, revision, &before, state, events) {
                problems.push(problem);
            }
        }
        before.clone_from(state);
    });
    problems
}

fn wrong_answer(
    call: &Call,
    answer: &Answer,
    revision: Revision,
    before: &State,
    state: &State,
    events: &[Event],
) -> Option<String> {
    // A write is the one that made its revision; a request that wrote nothing saw what its revision had left.
    if call.may_write() {
        let (expected, _, made) = interpret(before, revision.previous(), &call.request);
        if !made.is_empty() && expected == *answer && made == events {
            return None;
        }
    }
    let (mut expected, _, made) = interpret(state, revision, &call.request);
    if let (Answer::Range(expected), Answer::Range(RangeResponse { revision, .. })) = (&mut expected, answer)
    {
        expected.revision = *revision;
    }
    if made.is_empty() && expected == *answer {
        return None;
    }
    Some(format!(
        "at revision {revision} the answer should be {expected:?} or of the write that made it, {events:?}: {call:?}"
    ))
}

/// Whether an operation that began after another had ended comes after it in the order of revisions.
fn real_time(calls: &[Call]) -> Vec<String> {
    let mut answered: Vec<(Duration, Duration, Revision, &Call)> = calls
        .iter()
        .filter(|call| !matches!(&call.request, Request::Range { stale: true, .. }))
        .filter_map(|call| call.answer().map(|(at, answer)| (call.called, at, answer.revision(), call)))
        .collect();
    let mut by_end = answered.clone();
    by_end.sort_by_key(|(_, end, _, _)| *end);
    answered.sort_by_key(|(start, ..)| *start);
    let mut problems = Vec::new();
    let mut newest: Option<(Revision, &Call)> = None;
    let mut ended = by_end.into_iter().peekable();
    for (start, _, revision, call) in answered {
        while let Some((_, _, revision, call)) = ended.next_if(|(_, end, _, _)| *end < start) {
            if newest.is_none_or(|(newest, _)| revision > newest) {
                newest = Some((revision, call));
            }
        }
        let Some((newest, earlier)) = newest else { continue };
        let wrote = call.answer().is_some_and(|(_, answer)| wrote(answer));
        if revision < newest || (wrote && revision == newest) {
            problems.push(format!("time goes back: revision {newest} was answered before this was called: {call:?} after {earlier:?}"));
        }
    }
    problems
}

/// Whether an answer is that of a write that changed something, as far as the answer alone tells.
fn wrote(answer: &Answer) -> bool {
    match answer {
        Answer::Put(_) => true,
        Answer::Delete(delete) => delete.deleted > 0,
        Answer::Range(_) => false,
        Answer::Txn(txn) => {
            txn.responses.iter().any(|part| matches!(part, mainstay_store::OpResponse::Put(_)))
        }
    }
}

/// Whether each revision comes from exactly one call that may have made it, or from the end of a lease.
fn origins(calls: &[Call], archive: &Archive, leased: impl Fn(&[u8]) -> bool) -> Vec<String> {
    let mut problems = Vec::new();
    let mut by_value: HashMap<Bytes, &Call> = HashMap::new();
    let mut by_revision: HashMap<i64, &Call> = HashMap::new();
    let mut deletes_maybe = false;
    for call in calls {
        by_value.extend(call.values().into_iter().map(|value| (value, call)));
        if let Some((_, answer)) = call.answer() {
            let wrote = wrote(answer) || (call.may_delete() && matches!(answer, Answer::Txn(_)));
            if wrote && let Some(other) = by_revision.insert(answer.revision().0, call) {
                let both_certain =
                    other.answer().is_some_and(|(_, answer)| self::wrote(answer)) && self::wrote(answer);
                if both_certain {
                    problems
                        .push(format!("two writes were answered with one revision: {other:?} and {call:?}"));
                }
            }
        }
        deletes_maybe |= call.may_delete() && matches!(call.outcome, Outcome::Unknown(_));
    }
    let mut seen: HashSet<Bytes> = HashSet::new();
    for (revision, events) in &archive.events {
        for event in events {
            match event.kind {
                EventKind::Put => {
                    if !seen.insert(event.kv.value.clone()) {
                        problems
                            .push(format!("a write happened twice, again at revision {revision}: {event:?}"));
                    }
                    match by_value.get(&event.kv.value) {
                        None => problems
                            .push(format!("nobody asked for the event at revision {revision}: {event:?}")),
                        Some(call) => problems.extend(not_from(call, *revision)),
                    }
                }
                EventKind::Delete => {
                    let explained =
                        by_revision.contains_key(revision) || deletes_maybe || leased(&event.kv.key);
                    let by_put = events.iter().any(|other| other.kind == EventKind::Put);
                    if !explained && !by_put {
                        problems
                            .push(format!("nobody asked for the event at revision {revision}: {event:?}"));
                    }
                }
            }
        }
    }
    problems
}

fn not_from(call: &Call, revision: i64) -> Option<String> {
    match &call.outcome {
        Outcome::Refused(_) => Some(format!("a refused write took effect at revision {revision}: {call:?}")),
        Outcome::Answered(_, answer) if answer.revision().0 != revision => Some(format!(
            "a write took effect at revision {revision}, but its answer says otherwise: {call:?}"
        )),
        Outcome::Answered(..) | Outcome::Unknown(_) => None,
    }
}
