//! The engine and the decisions together, against the model: every answer, every revision, before and after compaction and restart.
use bytes::Bytes;
use proptest::prelude::*;

use super::{
    AppliedMark, CompactionStep, EngineView, Group, GroupView, HashRefused, HistoryPage, HistoryRequest,
    Tables,
};
use crate::api::{Config, Event, KeyValue, Limits, RangeRequest, Revision};
use crate::lease::LeaseTable;
use crate::mvcc::View as _;
use crate::mvcc::model::{Model, command_strategy, range_of};
use crate::mvcc::{Before, Command, Effects, Staged, apply, check_txn, range_response};

struct Subject {
    dir: tempfile::TempDir,
    tables: Tables,
    leases: LeaseTable,
    model: Model,
    index: u64,
    config: Config,
}

impl Subject {
    fn new() -> Self {
        Self::with_cache(Config::default().head_cache_bytes)
    }

    fn with_cache(head_cache_bytes: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { head_cache_bytes, ..Config::default() };
        let (tables, mark) = Tables::open(dir.path(), &config).unwrap();
        assert_eq!(mark, AppliedMark::default());
        Self { dir, tables, leases: LeaseTable::default(), model: Model::new(), index: 0, config }
    }

    /// Applies a group as the apply thread does: nothing is written before all of it is decided. Every other group is watched.
    fn apply_group(&mut self, commands: &[Command]) {
        let db = self.tables.db().unwrap();
        let looks_back = self.index.is_multiple_of(2);
        let view = GroupView::new(&self.tables, &db, &self.leases, looks_back);
        let mut staged = Staged::new(&view, commands.len());
        let mut group = Group::new();
        for command in commands {
            let effects = apply(&staged, command).unwrap();
            assert_eq!(effects.applied, self.model.apply(command), "the answer to {command:?}");
            staged.absorb(effects);
        }
        self.index += 1;
        let mark = AppliedMark {
            index: Some(self.index),
            term: 1,
            revision: staged.revision(),
            floor: staged.floor(),
        };
        let all = staged.into_effects();
        group.add_all(&all);
        self.check_changes(&all, looks_back);
        group.write(&self.tables, mark).unwrap();
        for effects in &all {
            self.leases.absorb(effects);
            self.tables.absorb(effects);
        }
        self.tables.publish(mark.revision, mark.floor);
        assert_eq!(mark.revision, self.model.revision());
    }

    /// What changes tell watchers is what the model says; the value before is left out only if nobody looks back.
    fn check_changes(&self, all: &[Effects], looks_back: bool) {
        for change in all.iter().flat_map(|effects| &effects.changes) {
            let revision = change.kv.mod_revision;
            let wanted = self.model.events[&revision.0].iter().find(|event| event.kv.key == change.kv.key);
            let prev = wanted.unwrap().prev.clone();
            let told = change.prev.as_ref().map(Before::without_value);
            assert_eq!(told, prev.clone().map(|kv| Before::from(kv).without_value()), "revision {revision}");
            let value = change.prev.as_ref().map(|before| before.value.clone());
            if looks_back || value.as_ref().is_some_and(Option::is_some) {
                assert_eq!(change.previous(), prev, "revision {revision}");
            }
        }
    }

    fn check(&self) {
        let view = EngineView::new(&self.tables, &self.leases);
        let first = self.model.floor.max(Revision(1));
        for at in (first.0..=self.model.revision().0).map(Revision) {
            let request = RangeRequest::all();
            let mut found = range_response(&view, &request, at).unwrap();
            found.revision = Revision(0);
            assert_eq!(found, range_of(self.model.at(at), &request), "revision {at}");
        }
        for key in ["a", "a\0", "a\0b", "ab", "b", "c", "never"].map(Bytes::from) {
            let wanted = self.model.at(self.model.revision()).get(&key);
            assert_eq!(view.latest(&key).unwrap().as_ref(), wanted, "{key:?}");
            // What the first look left behind is right as well.
            assert_eq!(view.latest(&key).unwrap().as_ref(), wanted, "{key:?} again");
        }
        for lease in 1..4 {
            let id = crate::LeaseId(lease);
            assert_eq!(view.has_lease(id), self.model.leases.contains(&id));
            let keys: Vec<_> = self
                .model
                .at(self.model.revision())
                .values()
                .filter(|kv| kv.lease == id)
                .map(|kv| kv.key.clone())
                .collect();
            assert_eq!(view.lease_keys(id), keys);
        }
        assert_eq!(*self.tables.alarms(), self.model.alarms);
        self.check_history(first);
    }

    /// The hash at each revision that can be read.
    fn hashes(&self) -> Vec<u32> {
        let first = self.model.floor.max(Revision(1));
        let all =
            (first.0..=self.model.revision().0).map(|at| self.tables.hash_kv(Some(Revision(at))).unwrap());
        all.map(|hash| hash.hash).collect()
    }

    fn check_history(&self, first: Revision) {
        let request = HistoryRequest {
            key: "".into(),
            range_end: Some("\0".into()),
            revisions: first.0..=self.model.revision().0,
            prev_kv: true,
            puts: true,
            deletes: true,
        };
        let HistoryPage::Found { batches, next } = self.tables.history(&request).unwrap() else {
            panic!("compacted")
        };
        assert_eq!(next, self.model.revision().next());
        let found: Vec<(i64, Vec<Event>)> =
            batches.into_iter().map(|batch| (batch.revision.0, batch.events)).collect();
        let visible =
            |prev: &KeyValue, of: Revision| of > self.model.floor || prev.mod_revision >= self.model.floor;
        let wanted: Vec<(i64, Vec<Event>)> = self
            .model
            .events
            .range(first.0..)
            .map(|(revision, events)| {
                let mut events = events.clone();
                // What lies wholly before the floor may be gone, and with it the version before an event at the floor.
                for event in &mut events {
                    event.prev = event.prev.take().filter(|prev| visible(prev, event.kv.mod_revision));
                }
                (*revision, events)
            })
            .collect();
        let mut found = found;
        if let Some((revision, events)) = found.first_mut()
            && *revision == self.model.floor.0
        {
            for event in events {
                event.prev = event.prev.take().filter(|prev| prev.mod_revision >= self.model.floor);
            }
        }
        assert_eq!(found, wanted);
    }

    /// Builds the filter of keys, as the compactor does once it is wanted.
    fn learn_keys(&self) {
        while !self.tables.wants_known_keys() {
            self.tables.missed();
        }
        self.tables.renew_known_keys(&|| false).unwrap();
    }

    fn compact(&self) {
        while self.tables.compact_step().unwrap() == CompactionStep::More {}
    }

    /// Closes without flush, as a crash does, or with.
    fn reopen(mut self, flush: bool) -> (Self, bool) {
        if flush {
            self.tables.flush().unwrap();
        }
        self.tables.close();
        let (tables, mark) = Tables::open(self.dir.path(), &self.config).unwrap();
        self.leases = LeaseTable::load(tables.load_leases().unwrap());
        self.tables = tables;
        let whole = mark.index == (self.index > 0).then_some(self.index);
        assert!(whole || !flush, "a flush keeps everything");
        (self, whole)
    }
}

fn groups() -> impl Strategy<Value = Vec<Vec<Command>>> {
    let command = command_strategy().prop_filter("a key is written once", |command| match command {
        Command::Txn(txn) => check_txn(txn, &Limits::default()).is_ok(),
        _ => true,
    });
    proptest::collection::vec(proptest::collection::vec(command, 1..6), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_and_every_revision_is_the_models(
        groups in groups(),
        compact in any::<bool>(),
        learnt_after in 0..9_usize,
        cache in prop_oneof![Just(0_usize), Just(9_600), Just(30_000), Just(1 << 20)],
    ) {
        let mut subject = Subject::with_cache(cache);
        for (number, group) in groups.iter().enumerate() {
            if number == learnt_after {
                subject.learn_keys();
            }
            subject.apply_group(group);
            if compact {
                subject.compact();
            }
        }
        subject.check();
        let hashes = subject.hashes();
        subject.compact();
        subject.check();
        prop_assert_eq!(&subject.hashes(), &hashes, "a hash does not tell how far compaction has got");
        let (subject, _) = subject.reopen(true);
        subject.check();
        prop_assert_eq!(&subject.hashes(), &hashes);
        let (_, _) = subject.reopen(false);
    }
}

#[test]
fn a_hash_tells_values_revisions_and_spans_apart() {
    let put = |key: &'static str, value: &'static str| Command::Put(crate::PutRequest::new(key, value));
    let of = |commands: &[Command]| {
        let mut subject = Subject::new();
        for command in commands {
            subject.apply_group(std::slice::from_ref(command));
        }
        subject
    };
    let one = of(&[put("a", "1"), put("b", "2")]);
    let hash = |subject: &Subject| subject.tables.hash_kv(None).unwrap().hash;
    assert_eq!(hash(&one), hash(&of(&[put("a", "1"), put("b", "2")])));
    for other in
        [[put("a", "1"), put("b", "3")], [put("b", "2"), put("a", "1")], [put("a", "1"), put("c", "2")]]
    {
        assert_ne!(hash(&one), hash(&of(&other)), "{other:?}");
    }
    let found = one.tables.hash_kv(Some(Revision(2))).unwrap();
    assert_ne!(found.hash, hash(&one));
    assert_eq!(
        (found.hash_revision, found.revision, found.compact_revision),
        (Revision(2), Revision(3), Revision(0))
    );
    assert_eq!(one.tables.hash_kv(Some(Revision(9))), Err(HashRefused::Future { current: Revision(3) }));
    let compacted = of(&[put("a", "1"), put("b", "2"), Command::Compact(Revision(3))]);
    assert_eq!(
        compacted.tables.hash_kv(Some(Revision(2))),
        Err(HashRefused::Compacted { floor: Revision(3) })
    );
}

#[test]
fn compaction_leaves_one_version_of_a_live_key_and_none_of_a_dead_one() {
    let mut subject = Subject::new();
    let put = |key: &'static str| Command::Put(crate::PutRequest::new(key, "v"));
    for _ in 0..1000 {
        subject.apply_group(&[put("live"), put("dead")]);
    }
    subject.apply_group(&[Command::DeleteRange(crate::DeleteRangeRequest::key("dead"))]);
    subject.apply_group(&[put("other")]);
    let floor = subject.model.revision();
    subject.apply_group(&[Command::Compact(floor)]);
    subject.compact();
    subject.check();
    let rows = |from: &[u8], to: &[u8]| {
        let mut options = rocksdb::ReadOptions::default();
        options.set_iterate_upper_bound(to.to_vec());
        let db = subject.tables.db().unwrap();
        let mut rows = db.raw_iterator_opt(options);
        rows.seek(from);
        let mut count = 0;
        while rows.valid() {
            count += 1;
            rows.next();
        }
        count
    };
    assert_eq!(rows(b"k", b"l"), 2, "versions of live and other");
    assert_eq!(rows(b"r", b"s"), 1, "the revision of the floor itself");
}
