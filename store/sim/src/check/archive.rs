//! The history of the store: every event of every revision, as one watch of everything told it.
use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_store::{Event, EventKind, Revision, WatchBatch};

use super::State;

/// Events by revision, without gap, and when each revision was first seen on any member.
#[derive(Clone, Debug, Default)]
pub struct Archive {
    /// By revision, from 2 on.
    pub events: BTreeMap<i64, Vec<Event>>,
    /// When a member first had a revision; a revision first seen together with later ones has their time.
    pub seen: BTreeMap<i64, Duration>,
}

impl Archive {
    /// An archive of batches.
    ///
    /// # Errors
    /// Revisions are missing, repeated or out of order, or an event contradicts those before it.
    pub fn new(batches: &[WatchBatch], seen: BTreeMap<i64, Duration>) -> Result<Self, String> {
        let mut archive = Self { events: BTreeMap::new(), seen };
        let mut state = State::new();
        let mut last = Revision::INITIAL;
        for batch in batches.iter().filter(|batch| !batch.events.is_empty()) {
            if batch.revision != last.next() {
                return Err(format!("history has a gap: revision {} follows {last}", batch.revision));
            }
            last = batch.revision;
            for event in &batch.events {
                play(&mut state, batch.revision, event)?;
            }
            archive.events.insert(last.0, batch.events.clone());
        }
        Ok(archive)
    }

    /// The last revision.
    pub fn last(&self) -> Revision {
        self.events.last_key_value().map_or(Revision::INITIAL, |(revision, _)| Revision(*revision))
    }

    /// When a revision was there at the latest.
    pub fn seen_at(&self, revision: Revision) -> Option<Duration> {
        self.seen.range(revision.0..).next().map(|(_, at)| *at)
    }

    /// Visits every revision with the state that it made, from the first on.
    pub fn each_state(&self, mut visit: impl FnMut(Revision, &State, &[Event])) {
        let mut state = State::new();
        visit(Revision::INITIAL, &state, &[]);
        for (revision, events) in &self.events {
            for event in events {
                apply(&mut state, event);
            }
            visit(Revision(*revision), &state, events);
        }
    }
}

/// Takes an event into a state.
pub(super) fn apply(state: &mut State, event: &Event) {
    match event.kind {
        EventKind::Put => drop(state.insert(event.kv.key.clone(), event.kv.clone())),
        EventKind::Delete => drop(state.remove(&event.kv.key)),
    }
}

fn play(state: &mut State, revision: Revision, event: &Event) -> Result<(), String> {
    let before = state.get(&event.kv.key);
    let wrong = |what: &str| {
        Err(format!(
            "the event at revision {revision} has the wrong {what}: {event:?}, before it was {before:?}"
        ))
    };
    if event.kv.mod_revision != revision {
        return wrong("revision");
    }
    if event.prev.as_ref() != before {
        return wrong("version before");
    }
    match event.kind {
        EventKind::Delete if before.is_none() => return wrong("kind"),
        EventKind::Delete => {}
        EventKind::Put => {
            let (create, version) = before.map_or((revision, 1), |kv| (kv.create_revision, kv.version + 1));
            if event.kv.create_revision != create || event.kv.version != version {
                return wrong("version");
            }
        }
    }
    apply(state, event);
    Ok(())
}
