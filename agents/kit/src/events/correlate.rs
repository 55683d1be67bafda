//! Which occurrences become new events, which only raise a count, and which are dropped. Pure: time is an argument.

use std::collections::{HashMap, HashSet, VecDeque};

use k8s_openapi::jiff::Timestamp;

use super::recorder::Occurrence;

/// Entries kept of each sort; the oldest go first.
const ENTRIES_MAX: usize = 4096;
/// Different messages of one reason within the interval, from which on they are combined.
const SIMILAR_MAX: usize = 10;
const SIMILAR_SECONDS: i64 = 600;
/// Events one object may have at once, and how long until it may have one more.
const BURST: f64 = 25.0;
const REFILL_SECONDS: f64 = 300.0;

/// What to write for an occurrence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// A new event of this name.
    Create { name: String, message: String },
    /// The event of this name occurred once more.
    Raise { name: String, message: String, count: i32, first: Timestamp },
    /// Too much noise from this object.
    Drop,
}

struct Series {
    name: String,
    count: i32,
    first: Timestamp,
}

struct Similar {
    messages: HashSet<String>,
    since: Timestamp,
}

struct Bucket {
    tokens: f64,
    at: Timestamp,
}

/// The memory of a recorder.
#[derive(Default)]
pub(super) struct Correlator {
    series: Bounded<Series>,
    similar: Bounded<Similar>,
    buckets: Bounded<Bucket>,
}

impl Correlator {
    pub(super) fn decide(&mut self, occurrence: &Occurrence, now: Timestamp) -> Decision {
        let regarding = &occurrence.regarding;
        let object = format!(
            "{}/{}/{}/{}/{}",
            regarding.kind.as_deref().unwrap_or_default(),
            regarding.namespace.as_deref().unwrap_or_default(),
            regarding.name.as_deref().unwrap_or_default(),
            regarding.uid.as_deref().unwrap_or_default(),
            regarding.field_path.as_deref().unwrap_or_default(),
        );
        let group = format!("{object} {} {}", occurrence.event_type.as_str(), occurrence.reason);
        let (key, message) = if self.is_one_of_many(&group, &occurrence.message, now) {
            (group, format!("(combined from similar events): {}", occurrence.message))
        } else {
            (format!("{group} {}", occurrence.message), occurrence.message.clone())
        };
        if !self.take_token(&object, now) {
            return Decision::Drop;
        }
        if let Some(series) = self.series.get(&key) {
            series.count = series.count.saturating_add(1);
            let (name, count, first) = (series.name.clone(), series.count, series.first);
            return Decision::Raise { name, message, count, first };
        }
        let name = format!("{}.{:x}", regarding.name.as_deref().unwrap_or_default(), now.as_nanosecond());
        self.series.insert(key, Series { name: name.clone(), count: 1, first: now });
        Decision::Create { name, message }
    }

    /// Forgets the event of this name: it is no longer on the server.
    pub(super) fn forget(&mut self, name: &str) {
        self.series.entries.retain(|_, series| series.name != name);
    }

    fn is_one_of_many(&mut self, group: &str, message: &str, now: Timestamp) -> bool {
        if let Some(similar) = self.similar.get(group) {
            if now.as_second() - similar.since.as_second() > SIMILAR_SECONDS {
                similar.messages.clear();
            }
            similar.since = now;
            if similar.messages.len() < SIMILAR_MAX {
                similar.messages.insert(message.to_owned());
            }
            return similar.messages.len() >= SIMILAR_MAX;
        }
        let messages = HashSet::from([message.to_owned()]);
        self.similar.insert(group.to_owned(), Similar { messages, since: now });
        false
    }

    #[allow(clippy::cast_precision_loss, reason = "milliseconds within a process's life fit a double")]
    fn take_token(&mut self, object: &str, now: Timestamp) -> bool {
        if self.buckets.get(object).is_none() {
            self.buckets.insert(object.to_owned(), Bucket { tokens: BURST, at: now });
        }
        let Some(bucket) = self.buckets.get(object) else { return true };
        let seconds = (now.as_millisecond() - bucket.at.as_millisecond()) as f64 / 1000.0;
        bucket.tokens = (bucket.tokens + seconds.max(0.0) / REFILL_SECONDS).min(BURST);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

/// A map that forgets its oldest entries.
struct Bounded<V> {
    entries: HashMap<String, V>,
    order: VecDeque<String>,
}

impl<V> Default for Bounded<V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new() }
    }
}

impl<V> Bounded<V> {
    fn get(&mut self, key: &str) -> Option<&mut V> {
        self.entries.get_mut(key)
    }

    fn insert(&mut self, key: String, value: V) {
        while self.order.len() >= ENTRIES_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.entries.remove(&oldest);
            }
        }
        self.order.push_back(key.clone());
        self.entries.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ObjectReference;
    use k8s_openapi::jiff::Timestamp;

    use super::{Correlator, Decision};
    use crate::events::{EventType, Occurrence};

    fn occurrence(message: &str) -> Occurrence {
        Occurrence {
            regarding: ObjectReference { name: Some("web-1".to_owned()), ..ObjectReference::default() },
            event_type: EventType::Warning,
            reason: "Failed".to_owned(),
            message: message.to_owned(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_same_event_again_raises_its_count() {
        let mut correlator = Correlator::default();
        let Decision::Create { name, .. } = correlator.decide(&occurrence("a"), at(1)) else {
            panic!("not new")
        };
        let again = correlator.decide(&occurrence("a"), at(2));
        assert_eq!(again, Decision::Raise { name, message: "a".to_owned(), count: 2, first: at(1) });
    }

    #[test]
    fn many_similar_events_are_combined() {
        let mut correlator = Correlator::default();
        let decisions: Vec<Decision> =
            (0..12).map(|n| correlator.decide(&occurrence(&n.to_string()), at(n))).collect();
        let Some(Decision::Create { message, .. }) = decisions.get(9) else { panic!("tenth is not new") };
        assert_eq!(message, "(combined from similar events): 9");
        assert!(matches!(decisions.get(11), Some(Decision::Raise { count: 3, .. })));
    }

    #[test]
    fn a_noisy_object_is_bounded_and_recovers() {
        let mut correlator = Correlator::default();
        let dropped =
            (0..30).filter(|_| correlator.decide(&occurrence("a"), at(1)) == Decision::Drop).count();
        assert_eq!(dropped, 5);
        assert_ne!(correlator.decide(&occurrence("a"), at(302)), Decision::Drop);
    }
}
