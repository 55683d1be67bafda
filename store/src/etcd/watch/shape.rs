//! What watches of one stream have in common: those of the same range, filters and extent get the same bytes.
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::encode::{EncodedEvents, EventWriter};
use crate::api::{Revision, WatchRequest};
use crate::watch::{Items, concerns};

/// A response has at most so many bytes of events, unless one revision alone has more.
const RESPONSE_BYTES_MAX: usize = 1 << 20;

/// What decides which bytes a watch gets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Shape {
    key: Bytes,
    range_end: Option<Bytes>,
    flags: [bool; 3],
}

/// Encoded revisions of one shape.
#[derive(Clone, Debug)]
pub(super) struct Encoded {
    pub(super) events: EncodedEvents,
    /// The last revision with an event in it; none if there is no event.
    pub(super) last: Option<Revision>,
    /// The first revision that was not looked at.
    pub(super) next: Revision,
}

/// The shapes of a stream's watches, and what was encoded for them in one go.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    known: HashMap<Shape, Arc<ShapeId>>,
    next_id: u64,
    encoded: HashMap<Place, Encoded>,
    /// The newest of them: most often the next watch stands at the same place.
    latest: Option<(Place, Encoded)>,
}

/// A shape, and the revisions that were encoded for it.
type Place = (u64, Revision, Revision);

/// A watch's shape.
#[derive(Debug)]
pub(super) struct ShapeId {
    id: u64,
    shape: Shape,
    watches: AtomicUsize,
}

impl Shapes {
    pub(super) fn add(&mut self, request: &WatchRequest) -> Arc<ShapeId> {
        let shape = Shape {
            key: request.key.clone(),
            range_end: request.range_end.clone(),
            flags: [request.prev_kv, request.filter_put, request.filter_delete],
        };
        self.next_id += 1;
        let new = self.next_id;
        let entry = self.known.entry(shape);
        let shape = entry.key().clone();
        let id =
            entry.or_insert_with(|| Arc::new(ShapeId { id: new, shape, watches: AtomicUsize::default() }));
        id.watches.fetch_add(1, Ordering::Relaxed);
        Arc::clone(id)
    }

    pub(super) fn remove(&mut self, shape: &ShapeId) {
        if shape.watches.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.known.remove(&shape.shape);
        }
    }

    /// Forgets what was encoded: the watches that shared it have it.
    pub(super) fn forget(&mut self) {
        self.encoded.clear();
        self.latest = None;
    }

    /// The events of revisions, encoded once for all watches of the shape that stand at the same place.
    pub(super) fn encode(
        &mut self,
        shape: &ShapeId,
        request: &WatchRequest,
        items: &Items,
        next: Revision,
    ) -> Encoded {
        let shared = shape.watches.load(Ordering::Relaxed) > 1;
        let Some(first) = items.first().filter(|_| shared) else {
            return encode(request, items, next);
        };
        let place = (shape.id, first, next);
        if let Some((_, encoded)) = self.latest.as_ref().filter(|(latest, _)| *latest == place) {
            return encoded.clone();
        }
        let encoded = self.encoded.entry(place).or_insert_with(|| encode(request, items, next)).clone();
        self.latest = Some((place, encoded.clone()));
        encoded
    }
}

fn encode(request: &WatchRequest, items: &Items, next: Revision) -> Encoded {
    let mut writer = EventWriter::default();
    let mut last = None;
    for item in items.iter() {
        if writer.len() >= RESPONSE_BYTES_MAX {
            return Encoded { events: writer.finish(), last, next: item.revision };
        }
        for change in concerns(item, request) {
            let prev = if request.prev_kv { change.previous() } else { None };
            writer.push(change.kind, &change.kv, prev.as_ref());
            last = Some(item.revision);
        }
    }
    Encoded { events: writer.finish(), last, next }
}
