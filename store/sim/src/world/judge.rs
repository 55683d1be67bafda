//! The end of a run: what all members have, and what the checkers say.
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use mainstay_store::{RangeRequest, Revision};

use super::clients::{ALONE, LEASED, TOGETHER};
use super::protocol::{Ask, Reply, Wire};
use super::run::{Report, World};
use crate::check::{
    Answer, Archive, LeaseTimes, Outcome, Request, State, check_leases, check_linearizable, check_revisions,
    check_session,
};

impl World {
    /// Everything that each member has.
    pub(super) fn contents(&mut self) -> Vec<(usize, Revision, State)> {
        let found = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let (wire, members, sink) =
            (Wire::new(self.net.clone(), self.clients.id, 0), self.active.clone(), Arc::clone(&found));
        let reading = async move {
            for member in members {
                let ask = Ask::Keys(Request::Range {
                    range: RangeRequest { serializable: true, ..RangeRequest::all() },
                    stale: true,
                });
                if let Some(Reply::Keys(Answer::Range(range))) =
                    wire.ask(member, ask, Duration::from_secs(5)).await
                {
                    let state = range.kvs.into_iter().map(|kv| (kv.key.clone(), kv)).collect();
                    sink.lock().push((member, range.revision, state));
                }
            }
        };
        self.clients.spawn(reading);
        self.run_for(Duration::from_secs(2));
        std::mem::take(&mut *found.lock())
    }

    pub(super) fn judge(mut self) -> Report {
        let (calls, sessions, leases, history, compacted, log) = self.recorder.note(|notes| {
            (
                std::mem::take(&mut notes.calls),
                std::mem::take(&mut notes.sessions),
                std::mem::take(&mut notes.leases),
                std::mem::take(&mut notes.history),
                notes.compacted,
                std::mem::take(&mut notes.log),
            )
        });
        let mut unsettled = 0;
        self.problems.extend(self.views.problems().iter().cloned());
        if let Ok(archive) = Archive::new(&history, self.seen.clone()) {
            let of_lease = |key: &[u8]| key.starts_with(LEASED);
            self.problems.extend(check_revisions(&calls, &archive, of_lease));
            let found = check_linearizable(&calls, &archive, |key| {
                key.starts_with(ALONE) || key.starts_with(TOGETHER)
            });
            unsettled = found.unsettled;
            self.problems.extend(found.problems);
            for session in &sessions {
                self.problems.extend(check_session(session, &archive, compacted));
            }
            let times = LeaseTimes {
                drift: if self.mood.drifts { 2.0 * self.mood.drift_max } else { 0.001 },
                leaders: self.leaders.clone(),
                slack: self.down + Duration::from_secs(5),
                end: self.now,
            };
            self.problems.extend(check_leases(&leases, &archive, &times));
        }
        let log: Vec<String> =
            log.into_iter().map(|(at, what)| format!("{:9.3} {what}", at.as_secs_f64())).collect();
        let mut details = log.clone();
        details.extend(calls.iter().map(|call| format!("{call:?}")));
        details.extend(sessions.iter().map(|session| format!("{session:?}")));
        // The directory has another name each time, and shows in errors.
        let dir = self.dir.path().display().to_string();
        for line in &mut details {
            *line = line.replace(&dir, "DIR");
        }
        let mut hasher = DefaultHasher::new();
        details.hash(&mut hasher);
        let answered = calls.iter().filter(|call| matches!(call.outcome, Outcome::Answered(..))).count();
        Report {
            plan: self.plan,
            simulated: self.now,
            problems: std::mem::take(&mut self.problems),
            calls: (calls.len(), answered),
            watches: (sessions.len(), sessions.iter().map(|session| session.batches.len()).sum()),
            revision: self.newest,
            unsettled,
            faults: std::mem::take(&mut self.faults),
            trace: log,
            details,
            fingerprint: hasher.finish(),
        }
    }
}
