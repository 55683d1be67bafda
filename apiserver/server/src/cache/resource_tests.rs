//! The cache against a model: every revision that the ring reaches shows what was there then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use mainstay_apiserver_kinds::CONFIG_MAP;
use mainstay_apiserver_machinery::{protobuf, value};
use mainstay_proto_api::WatchEventType;
use mainstay_store::Revision;

use super::resource::{Change, Loaded, ResourceCache};
use super::ring::RingBounds;
use super::{Cached, ChangeKind, Progress};

fn object(namespace: &str, name: &str, revision: i64) -> Cached {
    let tree =
        value!({"metadata": {"namespace": namespace, "name": name}, "data": {"at": revision.to_string()}});
    let mut message = Vec::new();
    protobuf::encode(&tree, CONFIG_MAP.schema(), &mut message).unwrap();
    let stored = protobuf::envelope::wrap(&CONFIG_MAP.gvk(), &message);
    Cached::from_store(&CONFIG_MAP, &stored, Revision(revision), b"key").unwrap()
}

fn cache(events_max: usize) -> Arc<ResourceCache> {
    let bounds = RingBounds { events_max, bytes_max: usize::MAX };
    let cache = Arc::new(ResourceCache::new(&CONFIG_MAP, bounds, Progress::default()));
    cache.load(Loaded::default(), Revision(1));
    cache
}

fn put(cache: &ResourceCache, namespace: &str, name: &str, revision: i64) {
    cache.apply(vec![Change::Put(object(namespace, name, revision))], Revision(revision));
}

fn delete(cache: &ResourceCache, namespace: &str, name: &str, revision: i64) {
    let change = Change::Delete { namespace: namespace.to_owned(), name: name.to_owned() };
    cache.apply(vec![change], Revision(revision));
}

#[test]
fn any_revision_in_the_ring_can_be_seen_again() {
    let cache = cache(1000);
    let mut model: BTreeMap<String, i64> = BTreeMap::new();
    let mut history = vec![(1, model.clone())];
    let mut random = 7_u64;
    for revision in 2..300 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (namespace, name) =
            (["a", "a-b"][(random >> 33) as usize % 2], format!("m{}", (random >> 40) % 9));
        let key = format!("{namespace}/{name}");
        if model.contains_key(&key) && random >> 60 > 8 {
            delete(&cache, namespace, &name, revision);
            model.remove(&key);
        } else {
            put(&cache, namespace, &name, revision);
            model.insert(key, revision);
        }
        history.push((revision, model.clone()));
    }
    for (revision, expected) in history {
        let snapshot = cache.snapshot_at(Revision(revision)).unwrap();
        let found: Vec<_> = snapshot.iter().map(|o| (o.header.key(), o.header.revision.0)).collect();
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "at {revision}, in the store's order");
    }
}

#[test]
fn pages_stay_inside_their_namespace() {
    let cache = cache(10);
    for (at, (namespace, name)) in [("a", "x"), ("a", "y"), ("a-b", "x"), ("ab", "x")].into_iter().enumerate()
    {
        put(&cache, namespace, name, at as i64 + 2);
    }
    let snapshot = cache.snapshot();
    let keys = |namespace: &str, position: &[u8]| -> Vec<String> {
        snapshot.page(namespace, position).map(|o| o.header.key()).collect()
    };
    assert_eq!(keys("a", b""), ["a/x", "a/y"]);
    assert_eq!(keys("a", b"x\0"), ["a/y"]);
    assert_eq!(keys("", b"a/x\0"), ["a/y", "ab/x"]);
    assert_eq!(keys("", b""), ["a-b/x", "a/x", "a/y", "ab/x"]);
}

#[tokio::test]
async fn a_cursor_delivers_everything_after_its_revision_or_says_that_it_cannot() {
    let cache = cache(3);
    for revision in 2..=6 {
        put(&cache, "a", &format!("m{revision}"), revision);
    }
    assert!(cache.cursor_after(Revision(2)).is_err(), "the event of revision 3 is gone");
    let mut cursor = cache.cursor_after(Revision(4)).unwrap();
    let seen: Vec<_> = cursor.next().await.unwrap().iter().map(|event| event.revision.0).collect();
    assert_eq!(seen, [5, 6]);
    for revision in 7..=12 {
        put(&cache, "a", "busy", revision);
    }
    assert!(cursor.next().await.is_err(), "a cursor that fell out of the ring ends");
}

#[tokio::test]
async fn an_event_is_encoded_once_however_many_watch() {
    let cache = cache(10);
    let mut cursors: Vec<_> = (0..100).map(|_| cache.cursor_after(Revision(1)).unwrap()).collect();
    put(&cache, "a", "m", 2);
    let encoded = AtomicUsize::new(0);
    for cursor in &mut cursors {
        let events = cursor.next().await.unwrap();
        let frame = events[0].frame((WatchEventType::Added, 0), || {
            encoded.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::convert::Infallible>(Bytes::from_static(b"frame"))
        });
        assert_eq!(frame.unwrap(), "frame");
    }
    assert_eq!(encoded.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_deletion_shows_the_last_state_under_its_own_revision() {
    let cache = cache(10);
    put(&cache, "a", "m", 2);
    let mut events = cache.cursor_after(Revision(2)).unwrap();
    delete(&cache, "a", "m", 3);
    let event = events.next().await.unwrap().remove(0);
    assert_eq!(event.change, ChangeKind::Deleted);
    let last = event.last_state().unwrap().decode().unwrap();
    assert_eq!(last.path_str(&["metadata", "resourceVersion"]), Some("3"));
    assert_eq!(last.path_str(&["data", "at"]), Some("2"));
}
