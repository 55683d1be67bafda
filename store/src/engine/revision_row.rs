//! The rows of revisions: what happened, to which key, in the order of revisions.
//!
//! A row tells of one change, or of all changes of revisions that were applied together: a row for each would be a third of what RocksDB has to do
//! for a put. It is found by its last revision, so that a seek to any revision leads to the row that tells of it.
//!
//! | | key | value |
//! |---|---|---|
//! | one change | `r`, revision, position in it | kind, key |
//! | many | `r`, last revision, [`MANY_AT`] | [`MANY`], first revision, then of each change: kind, length of its key, key |
//!
//! Only tables hold rows of many. Snapshots and images, which other programs read, hold one for each change.
use rocksdb::WriteBatch;

use super::table_key;
use crate::api::{EventKind, Revision};
use crate::mvcc::{Effects, Reader};

const PUT: u8 = 1;
const DELETE: u8 = 2;
const MANY: u8 = 3;
/// Added to the kind of a change that is not the first of its revision.
const GOES_ON: u8 = 1 << 7;
/// No change has this position.
const MANY_AT: u32 = u32::MAX;

/// The changes of a revision that has more each get a row of their own.
const CHANGES_MAX: usize = 16;
/// A row that has so many bytes takes no more revisions: who looks for one of them reads it from the start.
const ROW_BYTES: usize = 2048;

/// A change that a row tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told<'r> {
    pub(super) main: Revision,
    /// Its position in the revision.
    pub(super) sub: u32,
    pub(super) kind: EventKind,
    pub(super) key: &'r [u8],
}

/// The row is not as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damaged;

/// What a row tells, in order. Damage comes last.
#[derive(Debug)]
pub(super) struct Changes<'r> {
    rest: &'r [u8],
    form: Form,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    One {
        main: Revision,
        sub: u32,
    },
    /// What was told before, and where the row ends.
    Many {
        told: Option<(Revision, u32)>,
        first: Revision,
        last: Revision,
    },
    Damaged,
    End,
}

/// The changes that a row tells of.
pub(super) fn changes<'r>(row: &[u8], value: &'r [u8]) -> Changes<'r> {
    let damaged = Changes { rest: &[], form: Form::Damaged };
    let Some((last, sub)) = table_key::split_revision(row).filter(|_| row.len() == 13) else {
        return damaged;
    };
    if sub != MANY_AT {
        return Changes { rest: value, form: Form::One { main: last, sub } };
    }
    let Some((first, rest)) = value.strip_prefix(&[MANY]).and_then(|rest| rest.split_first_chunk::<8>())
    else {
        return damaged;
    };
    let first = Revision(i64::from_le_bytes(*first));
    Changes { rest, form: Form::Many { told: None, first, last } }
}

impl<'r> Changes<'r> {
    fn one(&self, main: Revision, sub: u32) -> Option<Told<'r>> {
        let (kind, key) = self.rest.split_first()?;
        Some(Told { main, sub, kind: kind_of(*kind)?, key })
    }

    fn next_of_many(&mut self, told: Option<(Revision, u32)>, first: Revision) -> Option<Told<'r>> {
        let mut reader = Reader::new(self.rest);
        let kind = reader.u8().ok()?;
        let bytes = reader.u32().ok()? as usize;
        let key = reader.take(bytes).ok()?;
        self.rest = reader.rest();
        let (main, sub) = match told {
            Some((main, sub)) if kind & GOES_ON != 0 => (main, sub.checked_add(1)?),
            Some((main, _)) => (main.next(), 0),
            None => (first, 0),
        };
        Some(Told { main, sub, kind: kind_of(kind & !GOES_ON)?, key })
    }
}

impl<'r> Iterator for Changes<'r> {
    type Item = Result<Told<'r>, Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        let told = match self.form {
            Form::End => return None,
            Form::Damaged => None,
            Form::One { main, sub } => {
                self.form = Form::End;
                self.one(main, sub)
            }
            Form::Many { told: Some((main, _)), last, .. } if self.rest.is_empty() && main == last => {
                self.form = Form::End;
                return None;
            }
            Form::Many { told, first, last } => {
                let next = self.next_of_many(told, first).filter(|next| next.main <= last);
                if let Some(next) = &next {
                    self.form = Form::Many { told: Some((next.main, next.sub)), first, last };
                }
                next
            }
        };
        if told.is_none() {
            self.form = Form::End;
        }
        Some(told.ok_or(Damaged))
    }
}

fn kind_of(byte: u8) -> Option<EventKind> {
    match byte {
        PUT => Some(EventKind::Put),
        DELETE => Some(EventKind::Delete),
        _ => None,
    }
}

fn byte_of(kind: EventKind) -> u8 {
    match kind {
        EventKind::Put => PUT,
        EventKind::Delete => DELETE,
    }
}

/// Whether a row tells of one change, as those of snapshots do.
pub(super) fn is_one(row: &[u8], value: &[u8]) -> bool {
    let mut changes = changes(row, value);
    let is_one = matches!(changes.form, Form::One { .. });
    is_one && changes.next().is_some_and(|told| told.is_ok_and(|told| !told.key.is_empty()))
}

/// Gives a row as rows of one change each; false if it is damaged.
pub(super) fn split(row: &[u8], value: &[u8], mut give: impl FnMut(Told<'_>, &[u8], &[u8])) -> bool {
    let mut one = Vec::new();
    for told in changes(row, value) {
        let Ok(told) = told else { return false };
        one.clear();
        one.push(byte_of(told.kind));
        one.extend_from_slice(told.key);
        give(told, &table_key::revision(told.main, told.sub), &one);
    }
    true
}

/// Puts the changes of commands into rows.
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// The row so far: of many, whatever it will be.
    value: Vec<u8>,
    first: Revision,
    last: Revision,
    changes: usize,
}

impl Writer {
    /// Adds what commands do, in order.
    pub(super) fn add_all(mut self, all: &[Effects], batch: &mut WriteBatch) {
        for effects in all {
            if effects.changes.len() > CHANGES_MAX {
                self.end(batch);
                for (change, sub) in effects.changes.iter().zip(0..) {
                    let (kind, kv) = (byte_of(change.kind), &change.kv);
                    self.value.clear();
                    self.value.push(kind);
                    self.value.extend_from_slice(&kv.key);
                    batch.put(table_key::revision(kv.mod_revision, sub), &self.value);
                }
                continue;
            }
            if self.changes > 0 && effects.revision != self.last.next() {
                self.end(batch);
            }
            for (at, change) in effects.changes.iter().enumerate() {
                self.push(change.kv.mod_revision, at > 0, change.kind, &change.kv.key);
            }
            if self.value.len() >= ROW_BYTES {
                self.end(batch);
            }
        }
        self.end(batch);
    }

    fn push(&mut self, main: Revision, goes_on: bool, kind: EventKind, key: &[u8]) {
        if self.changes == 0 {
            self.value.clear();
            self.value.push(MANY);
            self.value.extend_from_slice(&main.0.to_le_bytes());
            self.first = main;
        }
        self.value.push(byte_of(kind) | if goes_on { GOES_ON } else { 0 });
        self.value.extend_from_slice(&(key.len() as u32).to_le_bytes());
        self.value.extend_from_slice(key);
        self.changes += 1;
        self.last = main;
    }

    fn end(&mut self, batch: &mut WriteBatch) {
        match self.changes {
            0 => {}
            1 => {
                let row = table_key::revision(self.last, MANY_AT);
                let is_whole = split(&row, &self.value, |_, row, value| batch.put(row, value));
                assert!(is_whole, "a row reads back as it was written");
            }
            _ => batch.put(table_key::revision(self.last, MANY_AT), &self.value),
        }
        self.changes = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rocksdb::WriteBatchIterator;

    use super::changes as changes_of;
    use super::*;
    use crate::api::KeyValue;
    use crate::mvcc::{Change, Reply};

    #[derive(Default)]
    struct Rows(Vec<(Vec<u8>, Vec<u8>)>);

    impl WriteBatchIterator for Rows {
        fn put(&mut self, row: &[u8], value: &[u8]) {
            self.0.push((row.to_vec(), value.to_vec()));
        }

        fn delete(&mut self, _row: &[u8]) {}
    }

    /// What commands do that change these keys, from revision 7 on.
    fn effects(commands: &[Vec<(bool, Vec<u8>)>]) -> Vec<Effects> {
        let mut revision = Revision(6);
        let mut all = Vec::new();
        for keys in commands {
            if !keys.is_empty() {
                revision = revision.next();
            }
            let changes = keys.iter().map(|(put, key)| Change {
                kind: if *put { EventKind::Put } else { EventKind::Delete },
                kv: KeyValue { key: key.clone().into(), mod_revision: revision, ..KeyValue::default() },
                prev: None,
            });
            all.push(Effects {
                revision,
                changes: changes.collect(),
                lease: None,
                auth: None,
                floor: None,
                alarm: None,
                applied: Ok(Reply::Nothing),
            });
        }
        all
    }

    fn written(all: &[Effects]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut batch = WriteBatch::default();
        Writer::default().add_all(all, &mut batch);
        let mut rows = Rows::default();
        batch.iterate(&mut rows);
        rows.0
    }

    #[test]
    fn the_bytes_of_rows_stay_as_they_are() {
        let key = |key: &str| (key != "gone", key.as_bytes().to_vec());
        let mut all = String::new();
        for commands in [
            vec![vec![key("alone")]],
            vec![vec![key("a")], vec![], vec![key("b"), key("gone"), key("c")], vec![key("d")]],
        ] {
            for (row, value) in written(&effects(&commands)) {
                all.extend([&row, &value].map(|bytes| crate::golden::hex(bytes) + "\n"));
            }
        }
        crate::golden::check("revision-rows-v2.hex", all.trim_end());
    }

    proptest! {
        #[test]
        fn rows_tell_what_was_changed_in_order(
            commands in proptest::collection::vec(
                proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 1..40)), 0..24),
                0..60,
            ),
        ) {
            let all = effects(&commands);
            let rows = written(&all);
            prop_assert!(rows.is_sorted());
            let changes = all.iter().flat_map(|effects| effects.changes.iter().zip(0_u32..));
            let wanted: Vec<_> = changes
                .map(|(change, sub)| (change.kv.mod_revision, sub, change.kind, change.kv.key.to_vec()))
                .collect();
            let mut told = Vec::new();
            let mut split_rows = Vec::new();
            for (row, value) in &rows {
                for change in changes_of(row, value) {
                    let Told { main, sub, kind, key } = change.unwrap();
                    prop_assert!(table_key::revision(main, sub)[..] <= row[..], "a seek to it finds the row");
                    told.push((main, sub, kind, key.to_vec()));
                }
                prop_assert!(split(row, value, |_, row, value| split_rows.push((row.to_vec(), value.to_vec()))));
            }
            prop_assert_eq!(&told, &wanted);
            prop_assert!(split_rows.iter().all(|(row, value)| is_one(row, value)) && split_rows.is_sorted());
            prop_assert_eq!(split_rows.len(), wanted.len());
        }

        #[test]
        fn any_bytes_are_read_without_panic(
            main in any::<i64>(),
            many in any::<bool>(),
            mut value in proptest::collection::vec(prop_oneof![0_u8..4, any::<u8>()], 0..80),
        ) {
            if let (true, Some(kind)) = (many, value.first_mut()) {
                *kind = MANY;
            }
            let row = table_key::revision(Revision(main), if many { MANY_AT } else { 1 });
            let told: Vec<_> = changes_of(&row, &value).collect();
            prop_assert!(told.iter().rev().skip(1).all(Result::is_ok), "damage comes last");
        }
    }
}
