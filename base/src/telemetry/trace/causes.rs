//! From a write to the events that tell of it: both name the revision, and neither is always first.
//!
//! A watcher may have been told before the writer has its answer. So whoever comes first leaves a note, and the other finds
//! it. Notes are few and old ones make room: an event that comes very late is in no trace.

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Attributes, Kind, Place};

/// Revisions that are remembered.
const REVISIONS: usize = 1024;
/// Deliveries of one revision that wait for the writer.
const WAITING_MAX: usize = 16;
/// What the span of a delivery is called.
const NAME: &str = "watch event";

/// An event that a watcher was told.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// When the watcher took it up.
    pub began: Instant,
    /// When it was handed to the watcher's connection.
    pub ended: Instant,
    /// What it was about.
    pub attributes: Attributes,
}

/// The notes.
#[derive(Debug)]
pub struct Causes(Mutex<Vec<Note>>);

/// One revision's; a newer one whose number falls on the same place takes it.
#[derive(Debug, Default, Clone)]
struct Note {
    revision: i64,
    writer: Option<Place>,
    waiting: Vec<Delivery>,
}

impl Default for Causes {
    fn default() -> Self {
        Self(Mutex::new(vec![Note::default(); REVISIONS]))
    }
}

impl Causes {
    /// `writer` has written at this revision, or has not found out whether: events of it are part of its trace.
    pub fn wrote(&self, revision: i64, writer: &Place) {
        let waiting = self.at(revision, |note| {
            note.writer = writer.context().sampled.then(|| writer.clone());
            std::mem::take(&mut note.waiting)
        });
        for delivery in waiting.into_iter().flatten() {
            told(writer, delivery);
        }
    }

    /// A watcher was told of this revision.
    pub fn delivered(&self, revision: i64, delivery: Delivery) {
        let known = self.at(revision, |note| {
            if let Some(writer) = &note.writer {
                return Some((writer.clone(), delivery));
            }
            if note.waiting.len() < WAITING_MAX {
                note.waiting.push(delivery);
            }
            None
        });
        if let Some((writer, delivery)) = known.flatten() {
            told(&writer, delivery);
        }
    }

    /// Works on the note of a revision; none if newer ones have taken its place.
    fn at<T>(&self, revision: i64, work: impl FnOnce(&mut Note) -> T) -> Option<T> {
        let place = usize::try_from(revision).ok()? % REVISIONS;
        let mut notes = self.0.lock();
        let note = notes.get_mut(place)?;
        if note.revision > revision {
            return None;
        }
        if note.revision < revision {
            *note = Note { revision, ..Note::default() };
        }
        Some(work(note))
    }
}

fn told(writer: &Place, delivery: Delivery) {
    writer.past(NAME, Kind::Producer, (delivery.began, delivery.ended), delivery.attributes);
}
