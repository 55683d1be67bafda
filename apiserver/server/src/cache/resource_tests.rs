//! The cache against a model: every revision that the ring reaches shows what was there then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use mainstay_apiserver_kinds::{CONFIG_MAP, POD};
use mainstay_apiserver_machinery::{protobuf, value};
use mainstay_proto_api::WatchEventType;
use mainstay_store::Revision;

use super::resource::{Change, Loaded, ResourceCache};
use super::ring::RingBounds;
use super::{Cached, ChangeKind, CursorEnd, Event, Interest, Progress};

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
    cache.apply(vec![Change::Put(Arc::new(object(namespace, name, revision)))], Revision(revision));
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
    assert!(
        cache.cursor_after(Revision(2), Interest::Everything).is_err(),
        "the event of revision 3 is gone"
    );
    let mut cursor = cache.cursor_after(Revision(4), Interest::Everything).unwrap();
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
    let mut cursors: Vec<_> =
        (0..100).map(|_| cache.cursor_after(Revision(1), Interest::Everything).unwrap()).collect();
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
    let mut events = cache.cursor_after(Revision(2), Interest::Everything).unwrap();
    delete(&cache, "a", "m", 3);
    let event = events.next().await.unwrap().remove(0);
    assert_eq!(event.change, ChangeKind::Deleted);
    let last = event.last_state().unwrap().decode().unwrap();
    assert_eq!(last.path_str(&["metadata", "resourceVersion"]), Some("3"));
    assert_eq!(last.path_str(&["data", "at"]), Some("2"));
}

fn revisions(events: &[Arc<Event>]) -> Vec<i64> {
    events.iter().map(|event| event.revision.0).collect()
}

#[tokio::test]
async fn a_watcher_of_one_thing_is_woken_by_it_alone_and_outlasts_what_others_do() {
    let cache = cache(3);
    let of = |interest| cache.snapshot_and_cursor_of(interest).1;
    let mut namespace = of(Interest::Namespace("b".into()));
    let mut object = of(Interest::Object { namespace: "b".into(), name: "m".into() });
    let mut name = of(Interest::Name("m".into()));
    let mut other = of(Interest::Object { namespace: "b".into(), name: "n".into() });
    for revision in 2..=20 {
        put(&cache, "a", "busy", revision);
    }
    assert!(!namespace.is_behind());
    assert!(futures::poll!(std::pin::pin!(namespace.next())).is_pending());
    put(&cache, "b", "m", 21);
    for cursor in [&mut namespace, &mut object, &mut name] {
        assert!(cursor.is_behind());
        assert_eq!(revisions(&cursor.next().await.unwrap()), [21]);
        assert!(!cursor.is_behind());
    }
    assert!(futures::poll!(std::pin::pin!(other.next())).is_pending());
    for revision in 22..=30 {
        put(&cache, "b", "m", revision);
    }
    assert_eq!(namespace.next().await.unwrap_err(), CursorEnd::Lagged, "its own events are gone");
    cache.load(Loaded::default(), Revision(40));
    assert_eq!(other.next().await.unwrap_err(), CursorEnd::Lagged, "everything was replaced");
    drop((namespace, object, name, other));
    assert_eq!(cache.watching(), 0, "who ends is forgotten");
}

fn pod(name: &str, node: &str, revision: i64) -> Cached {
    let tree = value!({"metadata": {"namespace": "a", "name": name}, "spec": {"nodeName": node}});
    let mut message = Vec::new();
    protobuf::encode(&tree, POD.schema(), &mut message).unwrap();
    let stored = protobuf::envelope::wrap(&POD.gvk(), &message);
    Cached::from_store(&POD, &stored, Revision(revision), b"key").unwrap()
}

/// However slowly they read and whatever comes between, watchers of a node see what a watcher of everything would pick.
#[tokio::test]
async fn watchers_of_a_field_see_what_one_of_everything_picks() {
    let bounds = RingBounds { events_max: 10_000, bytes_max: usize::MAX };
    let cache = Arc::new(ResourceCache::new(&POD, bounds, Progress::default()));
    cache.load(Loaded::default(), Revision(1));
    let interest = |node: usize| Interest::Field { field: "spec.nodeName", value: format!("n{node}").into() };
    let mut watchers: Vec<_> =
        (0..4).map(|node| (cache.cursor_after(Revision(1), interest(node)).unwrap(), Vec::new())).collect();
    let touches = |event: &Event, node: usize| {
        let on = |state: &Cached| state.header.field("spec.nodeName") == Some(format!("n{node}").as_str());
        on(&event.object) || event.previous.as_ref().is_some_and(|previous| on(previous))
    };
    let mut state = 42_u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((state >> 33) % below).unwrap()
    };
    for revision in 2..3000 {
        let (name, node) = (format!("p{}", random(30)), format!("n{}", random(6)));
        let change = match random(5) {
            0 => Change::Delete { namespace: "a".to_owned(), name },
            _ => Change::Put(Arc::new(pod(&name, &node, revision))),
        };
        cache.apply(vec![change], Revision(revision));
        let reader = random(400);
        if let Some((cursor, seen)) = watchers.get_mut(reader)
            && cursor.is_behind()
        {
            seen.extend(cursor.next().await.unwrap());
        }
    }
    let mut all = cache.cursor_after(Revision(1), Interest::Everything).unwrap();
    let mut events = Vec::new();
    while all.is_behind() {
        events.extend(all.next().await.unwrap());
    }
    for (node, (cursor, seen)) in watchers.iter_mut().enumerate() {
        while cursor.is_behind() {
            seen.extend(cursor.next().await.unwrap());
        }
        seen.retain(|event| touches(event, node));
        let wanted: Vec<_> = events.iter().filter(|event| touches(event, node)).cloned().collect();
        assert!(wanted.len() > 300);
        assert_eq!(revisions(seen), revisions(&wanted), "node {node}");
    }
}

/// Whatever comes, goes and moves: at every revision an index finds what looking at each object does.
#[test]
fn an_index_finds_what_looking_at_every_object_does() {
    let bounds = RingBounds { events_max: 500, bytes_max: usize::MAX };
    let cache = Arc::new(ResourceCache::new(&POD, bounds, Progress::default()));
    let mut loaded = Loaded::default();
    for name in 0..10 {
        loaded.take("", Ok(pod(&format!("p{name}"), &format!("n{}", name % 3), 1)));
    }
    cache.load(loaded, Revision(1));
    let mut state = 9_u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for revision in 2..400 {
        let (name, node) = (format!("p{}", random(30)), ["", "n0", "n1", "n2"][random(4) as usize]);
        let change = match random(4) {
            0 => Change::Delete { namespace: "a".to_owned(), name },
            _ => Change::Put(Arc::new(pod(&name, node, revision))),
        };
        cache.apply(vec![change], Revision(revision));
    }
    for revision in 1..400 {
        let snapshot = cache.snapshot_at(Revision(revision)).unwrap();
        for node in ["n0", "n1", "n2", "n3"] {
            let interest = Interest::Field { field: "spec.nodeName", value: node.into() };
            let names = |objects: &mut dyn Iterator<Item = &Arc<Cached>>| -> Vec<_> {
                objects.map(|object| (object.header.name.clone(), object.header.revision)).collect()
            };
            let of_node = |object: &&Arc<Cached>| object.header.field("spec.nodeName") == Some(node);
            let found = names(&mut snapshot.narrowed(&interest).iter());
            assert_eq!(found, names(&mut snapshot.iter().filter(of_node)), "{node} at {revision}");
        }
    }
}

/// A kubelet's list costs its own pods, not the cluster's.
#[test]
fn a_node_of_many_looks_at_its_own_pods_alone() {
    let cache = Arc::new(ResourceCache::new(
        &POD,
        RingBounds { events_max: 10, bytes_max: usize::MAX },
        Progress::default(),
    ));
    let mut loaded = Loaded::default();
    for at in 0..5000 {
        loaded.take("", Ok(pod(&format!("p{at:05}"), &format!("n{}", at % 500), 1)));
    }
    cache.load(loaded, Revision(1));
    let snapshot = cache.snapshot();
    let interest = Interest::Field { field: "spec.nodeName", value: "n7".into() };
    assert_eq!(snapshot.narrowed(&interest).len(), 10);
    let one = Interest::Object { namespace: "a".into(), name: "p00007".into() };
    assert_eq!(snapshot.narrowed(&one).len(), 1);
    let none = Interest::Object { namespace: "b".into(), name: "p00007".into() };
    assert_eq!(snapshot.narrowed(&none).len(), 0);
}
