//! The rows of etcd's bucket `key`, in etcd's order: by revision.
//!
//! Our versions lie by key. The revisions from the compaction floor on have rows of their own, in order, that name their keys; what is older is
//! found by walks over the keys, each for as many revisions as the memory holds. Either way the versions are fetched a window at a time: the
//! window's keys are sorted, one walk finds them all, and they go out in the order of revisions. The next window is made meanwhile.
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use super::etcd_export::Failure;
use super::etcd_rows::revision;
use crate::api::Revision;
use crate::engine::{EngineError, Moment, MomentVersion};
use crate::mvcc::Row;

/// So many versions are fetched at once, ...
const WINDOW_VERSIONS: usize = 48 << 10;
/// ... of keys with so many bytes together. Versions beyond as many bytes are fetched one by one.
const WINDOW_BYTES: usize = 16 << 20;
/// Keys from before the floor, sorted at once, take so much memory.
const SORTED_BYTES: usize = 64 << 20;

/// Receives etcd's key and value of each version.
pub(super) type RowSink<'s> = dyn FnMut(&[u8], &[u8]) -> Result<(), Failure> + 's;

/// Gives what was alive at the floor, then everything since.
pub(super) fn each(moment: &Moment<'_>, sink: &mut RowSink<'_>) -> Result<(), Failure> {
    std::thread::scope(|scope| {
        let (windows, ready) = sync_channel(1);
        let reader = std::thread::Builder::new().name("store-snapshot-read".into());
        reader.spawn_scoped(scope, || {
            let mut reader = Reader { moment, window: Window::default(), windows };
            let read = reader.read();
            if let Err(error) = read {
                // The writer that has gone has a failure of its own.
                drop(reader.windows.send(Err(error)));
            }
        })?;
        write(moment, &ready, sink)
    })
}

fn write(
    moment: &Moment<'_>,
    ready: &Receiver<Result<Window, EngineError>>,
    sink: &mut RowSink<'_>,
) -> Result<(), Failure> {
    let mut single = Vec::new();
    while let Ok(window) = ready.recv() {
        let window = window?;
        for version in &window.versions {
            let key = version.key_in(&window.keys);
            let row = if let Some(row) = &version.row {
                window.rows.get(row.clone()).ok_or_else(|| no_version(version.main))?
            } else {
                single.clear();
                let found = moment.version(key, version.main, |found| put_row(key, found, &mut single))?;
                found.ok_or_else(|| no_version(version.main))?;
                &single
            };
            sink(&revision(version.main.0, i64::from(version.sub), version.end), row)?;
        }
    }
    Ok(())
}

fn no_version(main: Revision) -> EngineError {
    EngineError::damaged("reading a snapshot", format!("revision {main} has no version of its key"))
}

/// A version that goes out.
struct Version {
    main: Revision,
    sub: u32,
    /// It ends its key.
    end: bool,
    /// Where its key is.
    key: Range<usize>,
    /// Where its row is, if there was room.
    row: Option<Range<usize>>,
}

impl Version {
    fn key_in<'k>(&self, keys: &'k [u8]) -> &'k [u8] {
        keys.get(self.key.clone()).unwrap_or_default()
    }
}

/// Versions in the order of revisions.
#[derive(Default)]
struct Window {
    versions: Vec<Version>,
    keys: Vec<u8>,
    rows: Vec<u8>,
}

impl Window {
    fn is_full(&self) -> bool {
        self.versions.len() >= WINDOW_VERSIONS || self.keys.len() >= WINDOW_BYTES
    }

    fn push(&mut self, main: Revision, sub: u32, end: bool, key: &[u8]) {
        let from = self.keys.len();
        self.keys.extend_from_slice(key);
        self.versions.push(Version { main, sub, end, key: from..self.keys.len(), row: None });
    }

    /// Finds the versions in one walk over the keys.
    fn fill(&mut self, moment: &Moment<'_>) -> Result<(), EngineError> {
        let Self { versions, keys, rows } = self;
        let keys = &keys[..];
        let mut order: Vec<&mut Version> = versions.iter_mut().collect();
        order.sort_by(|a, b| a.key_in(keys).cmp(b.key_in(keys)).then(b.main.cmp(&a.main)));
        let wanted: Vec<(&[u8], Revision)> =
            order.iter().map(|version| (version.key_in(keys), version.main)).collect();
        let mut found = order.into_iter();
        moment.chosen(wanted.iter().copied(), &mut |version| {
            let Some(place) = found.next() else { return ControlFlow::Break(()) };
            let from = rows.len();
            put_row(place.key_in(keys), version, rows);
            place.row = Some(from..rows.len());
            if rows.len() < WINDOW_BYTES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
    }
}

/// Makes windows and hands them over.
struct Reader<'r, 'm> {
    moment: &'r Moment<'m>,
    window: Window,
    windows: SyncSender<Result<Window, EngineError>>,
}

/// Keys by the revision that wrote them.
type Sorted = BTreeMap<Revision, Vec<Vec<u8>>>;

impl Reader<'_, '_> {
    fn read(&mut self) -> Result<(), EngineError> {
        let (moment, floor) = (self.moment, self.moment.mark().floor);
        let mut low = Revision(0);
        while low < floor.previous() {
            let (sorted, high) = self.sort(low)?;
            for (main, keys) in sorted {
                for (sub, key) in keys.iter().enumerate() {
                    if self.push(main, sub as u32, false, key)?.is_break() {
                        return Ok(());
                    }
                }
            }
            low = high;
        }
        let mut failed = None;
        moment.revisions(floor, &mut |main, sub, end, key| {
            self.push(main, sub, end, key).unwrap_or_else(|error| {
                failed = Some(error);
                ControlFlow::Break(())
            })
        })?;
        match failed {
            Some(error) => Err(error),
            None => self.hand_over().map(|_flow| ()),
        }
    }

    fn push(
        &mut self,
        main: Revision,
        sub: u32,
        end: bool,
        key: &[u8],
    ) -> Result<ControlFlow<()>, EngineError> {
        self.window.push(main, sub, end, key);
        if self.window.is_full() { self.hand_over() } else { Ok(ControlFlow::Continue(())) }
    }

    /// Breaks if nobody takes windows any more.
    fn hand_over(&mut self) -> Result<ControlFlow<()>, EngineError> {
        let mut window = std::mem::take(&mut self.window);
        window.fill(self.moment)?;
        Ok(match self.windows.send(Ok(window)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_gone) => ControlFlow::Break(()),
        })
    }

    /// Keys whose version at the floor was written after `low`, by that revision, as many as the memory holds; and how far that goes.
    fn sort(&self, low: Revision) -> Result<(Sorted, Revision), EngineError> {
        let floor = self.moment.mark().floor;
        let mut high = floor.previous();
        let mut sorted = Sorted::new();
        let mut bytes = 0;
        let mut seen = Vec::new();
        self.moment.versions(&mut |key, version| {
            // Newest first: the first at or below the floor is the one that was alive there.
            if version.revision > floor || seen == key {
                return ControlFlow::Continue(());
            }
            seen.clear();
            seen.extend_from_slice(key);
            if version.kv.is_none() || version.revision <= low || version.revision > high {
                return ControlFlow::Continue(());
            }
            bytes += key.len() + 64;
            sorted.entry(version.revision).or_default().push(key.to_vec());
            while bytes > SORTED_BYTES && sorted.len() > 1 {
                let Some((last, keys)) = sorted.pop_last() else { break };
                bytes -= keys.iter().map(|key| key.len() + 64).sum::<usize>();
                high = last.previous();
            }
            ControlFlow::Continue(())
        })?;
        Ok((sorted, high))
    }
}

/// Appends a version as etcd's message `KeyValue`; an end carries nothing but its key.
fn put_row(key: &[u8], version: MomentVersion<'_>, out: &mut Vec<u8>) {
    put_bytes(1, key, out);
    let Some(Row { value, create_revision, mod_revision, version, lease, .. }) = version.kv else { return };
    put_number(2, create_revision.0, out);
    put_number(3, mod_revision.0, out);
    put_number(4, version, out);
    put_bytes(5, value, out);
    put_number(6, lease.0, out);
}

fn put_bytes(field: u32, bytes: &[u8], out: &mut Vec<u8>) {
    if !bytes.is_empty() {
        out.reserve(bytes.len() + encoded_len_varint(bytes.len() as u64) + 1);
        encode_key(field, WireType::LengthDelimited, out);
        encode_varint(bytes.len() as u64, out);
        out.extend_from_slice(bytes);
    }
}

fn put_number(field: u32, value: i64, out: &mut Vec<u8>) {
    if value != 0 {
        encode_key(field, WireType::Varint, out);
        encode_varint(value as u64, out);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use mainstay_proto_wire::etcd::mvccpb;
    use prost::Message as _;

    use super::*;
    use crate::api::LeaseId;

    #[test]
    fn rows_are_the_messages_that_etcd_reads() {
        let row = Row {
            key: b"k",
            value: b"v",
            create_revision: Revision(5),
            mod_revision: Revision(300),
            version: 2,
            lease: LeaseId(-1),
        };
        for kv in [Some(row), None] {
            let mut out = Vec::new();
            put_row(b"k", MomentVersion { revision: Revision(300), kv }, &mut out);
            let expected = mvccpb::KeyValue {
                key: Bytes::from_static(b"k"),
                ..match kv {
                    None => mvccpb::KeyValue::default(),
                    Some(_) => mvccpb::KeyValue {
                        create_revision: 5,
                        mod_revision: 300,
                        version: 2,
                        value: Bytes::from_static(b"v"),
                        lease: -1,
                        ..mvccpb::KeyValue::default()
                    },
                }
            };
            assert_eq!(mvccpb::KeyValue::decode(&out[..]).unwrap(), expected);
        }
    }
}
