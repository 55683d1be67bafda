//! Watches: order, selectors, bookmarks, ends.

use serde_json::json;

use crate::client::config_map;
use crate::server::{TestServer, limits};
use crate::store_rig::StoreKind;

const JSON: &str = "application/json";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_shows_every_change_in_order() {
    let server = TestServer::start().await;
    let client = server.admin();
    let start =
        client.get(MAPS).await.expect(200)["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    client.post(MAPS, &config_map("a", &json!({}), &json!({}))).await.expect(201);
    let mut watch = client.watch(&format!("{MAPS}?watch=1&resourceVersion={start}"), JSON).await;
    client.patch(&format!("{MAPS}/a"), "merge", &json!({"data": {"k": "v"}})).await.expect(200);
    client.delete(&format!("{MAPS}/a")).await.expect(200);
    let mut versions = Vec::new();
    for expected in ["ADDED", "MODIFIED", "DELETED"] {
        let event = watch.next().await.unwrap();
        assert_eq!(event["type"], expected);
        assert_eq!(event["object"]["kind"], "ConfigMap");
        versions
            .push(event["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap());
    }
    assert!(versions.is_sorted_by(|a, b| a < b), "the deletion has a revision of its own: {versions:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_come_into_and_leave_the_view_of_a_selector() {
    let server = TestServer::start().await;
    let client = server.admin();
    let start =
        client.get(MAPS).await.expect(200)["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let path = format!("{MAPS}?watch=1&labelSelector=on%3Dyes&resourceVersion={start}");
    let mut watch = client.watch(&path, JSON).await;
    client.post(MAPS, &config_map("a", &json!({"on": "no"}), &json!({}))).await.expect(201);
    for on in ["yes", "yes2", "yes"] {
        client
            .patch(&format!("{MAPS}/a"), "merge", &json!({"metadata": {"labels": {"on": on}}}))
            .await
            .expect(200);
    }
    client.patch(&format!("{MAPS}/a"), "merge", &json!({"data": {"k": "v"}})).await.expect(200);
    client.delete(&format!("{MAPS}/a")).await.expect(200);
    for expected in ["ADDED a", "DELETED a", "ADDED a", "MODIFIED a", "DELETED a"] {
        assert_eq!(watch.event().await, expected);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streaming_list_ends_with_a_marked_bookmark() {
    let server = TestServer::start().await;
    let client = server.admin();
    client.post(MAPS, &config_map("a", &json!({}), &json!({}))).await.expect(201);
    // Those that do not ask for it, but begin with any state, are told as well.
    for query in ["&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", "", "&resourceVersion=0"] {
        let mut watch = client.watch(&format!("{MAPS}?watch=1&allowWatchBookmarks=true{query}"), JSON).await;
        let mut names = Vec::new();
        loop {
            let event = watch.next().await.unwrap();
            if event["type"] == "BOOKMARK" {
                assert_eq!(event["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
                assert_eq!(event["object"]["kind"], "ConfigMap");
                break;
            }
            assert_eq!(event["type"], "ADDED");
            names.push(event["object"]["metadata"]["name"].as_str().unwrap().to_owned());
        }
        assert!(names.contains(&"a".to_owned()), "{query}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_watch_gets_bookmarks_that_follow_the_store() {
    let server = TestServer::start().await;
    let client = server.admin();
    let mut watch = client
        .watch(&format!("{MAPS}?watch=1&resourceVersion=0&allowWatchBookmarks=true&labelSelector=none"), JSON)
        .await;
    let space = client.post("/api/v1/namespaces", &json!({"metadata": {"name": "other"}})).await.expect(201);
    let target: u64 = space["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    loop {
        let event = watch.next().await.unwrap();
        assert_eq!(event["type"], "BOOKMARK");
        let version: u64 = event["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
        if version >= target {
            break;
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_from_a_version_that_the_ring_has_forgotten_goes_on_until_that_is_compacted() {
    let mut limits = limits();
    limits.ring_events_max = 1;
    let server = TestServer::with(limits).await;
    let client = server.admin();
    let start =
        client.get(MAPS).await.expect(200)["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    for name in ["a", "b", "c"] {
        client.post(MAPS, &config_map(name, &json!({}), &json!({}))).await.expect(201);
    }
    client.delete(&format!("{MAPS}/b")).await.expect(200);
    let path = format!("{MAPS}?watch=1&resourceVersion={start}");
    // A store in another process is not asked for what is older than the ring, as upstream does not.
    if server.store.kind == StoreKind::Embedded {
        let mut watch = client.watch(&path, JSON).await;
        for wanted in ["ADDED a", "ADDED b", "ADDED c", "DELETED b"] {
            assert_eq!(watch.event().await, wanted);
        }
        client.post(MAPS, &config_map("d", &json!({}), &json!({}))).await.expect(201);
        assert_eq!(watch.event().await, "ADDED d", "the ring goes on where the history ends");
        let selected = format!("{path}&fieldSelector=metadata.name%3Dc");
        assert_eq!(client.watch(&selected, JSON).await.event().await, "ADDED c");
    }
    let store = server.store.backing();
    store.compact(store.revision().await.unwrap()).await.unwrap();
    let mut watch = client.watch(&path, JSON).await;
    let event = watch.next().await.unwrap();
    assert_eq!(
        (&event["type"], &event["object"]["code"], &event["object"]["reason"]),
        (&json!("ERROR"), &json!(410), &json!("Expired"))
    );
    assert!(watch.next().await.is_none(), "it is the last event");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_is_slower_than_the_ring_is_long_loses_no_event() {
    let mut limits = limits();
    limits.ring_events_max = 4;
    let server = TestServer::with(limits).await;
    if server.store.kind != StoreKind::Embedded {
        return server.stop().await; // there the stream ends, as upstream's
    }
    let client = server.admin();
    let mut watch = client.watch(&format!("{MAPS}?watch=1&resourceVersion=0"), JSON).await;
    // More than what the sockets hold, while nobody reads.
    let filler = json!({"k": "v".repeat(400_000)});
    for at in 0..60 {
        client.post(MAPS, &config_map(&format!("m{at:02}"), &json!({}), &filler)).await.expect(201);
    }
    for at in 0..60 {
        assert_eq!(watch.event().await, format!("ADDED m{at:02}"));
    }
    client.delete(&format!("{MAPS}/m00")).await.expect(200);
    assert_eq!(watch.event().await, "DELETED m00");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_after_its_timeout() {
    let server = TestServer::start().await;
    let mut watch =
        server.admin().watch(&format!("{MAPS}?watch=1&resourceVersion=0&timeoutSeconds=1"), JSON).await;
    while watch.next().await.is_some() {}
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn protobuf_frames_have_lengths_and_envelopes() {
    let server = TestServer::start().await;
    let client = server.admin();
    let mut watch = client
        .watch(
            &format!("{MAPS}?watch=1&fieldSelector=metadata.name%3Dpb"),
            "application/vnd.kubernetes.protobuf",
        )
        .await;
    assert_eq!(watch.content_type, "application/vnd.kubernetes.protobuf;stream=watch");
    client.post(MAPS, &config_map("pb", &json!({}), &json!({"k": "v"}))).await.expect(201);
    let frame = loop {
        if let Some(length) = watch.buffer.first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            if watch.buffer.len() >= 4 + length {
                break watch.buffer.split_to(4 + length).split_off(4);
            }
        }
        assert!(watch.fill().await);
    };
    assert_eq!(&frame[..7], b"\x0a\x05ADDED");
    let magic = frame.windows(4).position(|w| w == b"k8s\0").expect("an envelope");
    let envelope = mainstay_apiserver_machinery::protobuf::envelope::unwrap(&frame[magic..]).unwrap();
    assert_eq!((envelope.api_version, envelope.kind), ("v1", "ConfigMap"));
    let schema = mainstay_apiserver_machinery::schema::lookup("core/v1.ConfigMap").unwrap();
    let object = mainstay_apiserver_machinery::protobuf::decode(envelope.raw, schema).unwrap();
    assert_eq!(object.path_str(&["data", "k"]), Some("v"));
    assert!(object.path_str(&["metadata", "resourceVersion"]).is_some());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_metadata_are_watched_too() {
    let server = TestServer::start().await;
    let client = server.admin();
    client.post(MAPS, &config_map("t", &json!({}), &json!({}))).await.expect(201);
    let path = format!("{MAPS}?watch=1&fieldSelector=metadata.name%3Dt");
    let mut table = client.watch(&path, "application/json;as=Table;v=v1;g=meta.k8s.io").await;
    let event = table.next().await.unwrap();
    assert_eq!(event["object"]["kind"], "Table");
    assert_eq!(event["object"]["rows"][0]["object"]["metadata"]["name"], "t");
    let mut partial =
        client.watch(&path, "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io").await;
    let event = partial.next().await.unwrap();
    assert_eq!(
        (&event["object"]["kind"], &event["object"]["metadata"]["name"]),
        (&json!("PartialObjectMetadata"), &json!("t"))
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deprecated_watch_paths_work() {
    let server = TestServer::start().await;
    let client = server.admin();
    for name in ["a", "b"] {
        client.post(MAPS, &config_map(name, &json!({}), &json!({}))).await.expect(201);
    }
    let mut watch =
        client.watch("/api/v1/watch/namespaces/default/configmaps/b?timeoutSeconds=1", JSON).await;
    assert_eq!(watch.event().await, "ADDED b");
    assert!(watch.next().await.is_none(), "other objects are not shown");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_from_the_future_opens_at_once_and_tells_only_what_comes_after() {
    let server = TestServer::start().await;
    let client = server.admin();
    let version = |object: &serde_json::Value| {
        object["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap()
    };
    // The server writes things of its own meanwhile: how many versions those take is not known.
    let future = version(&client.get(MAPS).await.expect(200)) + 60;
    let path = |more: &str| format!("{MAPS}?watch=1&resourceVersion={future}{more}");
    let mut all = client.watch(&path("&labelSelector=of%3Dthis"), JSON).await;
    let mut one = client.watch(&path("&fieldSelector=metadata.name%3Dm"), JSON).await;
    let map = config_map("m", &json!({"of": "this"}), &json!({"k": "0"}));
    let (mut last, mut told) = (version(&client.post(MAPS, &map).await.expect(201)), "ADDED");
    for turn in 1.. {
        if last > future {
            break;
        }
        assert!(turn < 100, "each write has a version of its own");
        let change = json!({"data": {"k": turn.to_string()}});
        last = version(&client.patch(&format!("{MAPS}/m"), "merge", &change).await.expect(200));
        told = "MODIFIED";
    }
    for watch in [&mut all, &mut one] {
        let event = watch.next().await.unwrap();
        assert_eq!((&event["type"], version(&event["object"])), (&json!(told), last));
    }

    // One that is to begin with all objects is told that they are not there yet, as an event.
    let asked = format!(
        "{MAPS}?watch=1&resourceVersion={}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
        last + 1_000_000
    );
    let event = client.watch(&asked, JSON).await.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(504)));
    assert_eq!(event["object"]["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    server.stop().await;
}
