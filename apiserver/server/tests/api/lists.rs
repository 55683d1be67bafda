//! Lists: pages, selectors, resource versions.

use serde_json::{Value, json};

use crate::client::{Client, config_map};
use crate::server::TestServer;

const MAPS: &str = "/api/v1/namespaces/pages/configmaps";

async fn fill(client: &Client, count: usize) {
    client.post("/api/v1/namespaces", &json!({"metadata": {"name": "pages"}})).await.expect(201);
    for at in 0..count {
        client
            .post(MAPS, &config_map(&format!("m{at:02}"), &json!({"n": at.to_string()}), &json!({})))
            .await
            .expect(201);
    }
}

fn names(list: &Value) -> Vec<String> {
    list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_show_one_revision_whatever_happens_between() {
    let server = TestServer::start().await;
    let client = server.admin();
    fill(&client, 5).await;
    let first = client.get(&format!("{MAPS}?limit=2")).await.expect(200);
    assert_eq!(names(&first), ["m00", "m01"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    client.delete(&format!("{MAPS}/m03")).await.expect(200);
    client.post(MAPS, &config_map("m02a", &json!({}), &json!({}))).await.expect(201);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = client.get(&format!("{MAPS}?limit=2&continue={token}")).await.expect(200);
    assert_eq!(names(&second), ["m02", "m03"]);
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let token = second["metadata"]["continue"].as_str().unwrap();
    let third = client.get(&format!("{MAPS}?limit=2&continue={token}")).await.expect(200);
    assert_eq!(names(&third), ["m04"]);
    assert_eq!(third["metadata"]["continue"], Value::Null);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exact_list_shows_the_past_and_410_when_it_is_compacted() {
    let mut limits = crate::server::limits();
    limits.ring_events_max = 2;
    let server = TestServer::with(limits).await;
    let client = server.admin();
    fill(&client, 4).await;
    let then = client.get(MAPS).await.expect(200)["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    for at in 0..4 {
        client.delete(&format!("{MAPS}/m{at:02}")).await.expect(200);
    }
    assert!(names(&client.get(MAPS).await.expect(200)).is_empty());
    let exact = format!("{MAPS}?resourceVersion={then}&resourceVersionMatch=Exact");
    assert_eq!(
        names(&client.get(&exact).await.expect(200)).len(),
        4,
        "the ring is too short: the store's history answers"
    );
    let page = client.get(&format!("{exact}&limit=3")).await.expect(200);
    let token = page["metadata"]["continue"].as_str().unwrap().to_owned();
    let store = server.store.backing();
    store.compact(store.revision().await.unwrap()).await.unwrap();
    let expired = client.get(&exact).await;
    assert_eq!((expired.code, expired.reason().as_str()), (410, "Expired"));
    let expired = client.get(&format!("{MAPS}?limit=3&continue={token}")).await.expect(410);
    let fresh = expired["metadata"]["continue"].as_str().unwrap();
    client.get(&format!("{MAPS}?limit=3&continue={fresh}")).await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn selectors_narrow_a_list() {
    let server = TestServer::start().await;
    let client = server.admin();
    fill(&client, 4).await;
    let list = |query: &str| {
        let (client, path) = (client.clone(), format!("{MAPS}?{query}"));
        async move { names(&client.get(&path).await.expect(200)) }
    };
    assert_eq!(list("labelSelector=n%20in%20(1,3)").await, ["m01", "m03"]);
    assert_eq!(list("labelSelector=!n").await, Vec::<String>::new());
    assert_eq!(list("fieldSelector=metadata.name%3Dm02").await, ["m02"]);
    assert_eq!(list("fieldSelector=metadata.name!%3Dm02&labelSelector=n!%3D1").await, ["m00", "m03"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_version_from_the_future_is_waited_for_then_refused() {
    let server = TestServer::start().await;
    let answer = server.admin().get("/api/v1/namespaces?resourceVersion=999999").await;
    assert_eq!(answer.code, 504);
    assert_eq!(answer.json()["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_list_is_streamed_and_compressed() {
    let server = TestServer::start().await;
    let client = server.admin();
    client.post("/api/v1/namespaces", &json!({"metadata": {"name": "pages"}})).await.expect(201);
    for at in 0..40 {
        let map = config_map(&format!("big{at:02}"), &json!({}), &json!({"k": "v".repeat(10_000)}));
        client.post(MAPS, &map).await.expect(201);
    }
    let plain = client.get(MAPS).await;
    assert_eq!(names(&plain.expect(200)).len(), 40);
    let packed = client.call(http::Method::GET, MAPS, &[("accept-encoding", "gzip")], "").await;
    assert_eq!(packed.header("content-encoding"), "gzip");
    assert!(packed.bytes.len() * 10 < plain.bytes.len());
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&packed.bytes[..]), &mut text).unwrap();
    assert_eq!(names(&serde_json::from_str(&text).unwrap()), names(&plain.json()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nodes_pods_and_single_objects_are_found_by_their_fields() {
    let server = TestServer::start().await;
    let client = server.admin();
    for namespace in ["default", "other"] {
        if namespace != "default" {
            client.post("/api/v1/namespaces", &json!({"metadata": {"name": namespace}})).await.expect(201);
        }
        let account = json!({"metadata": {"name": "default"}});
        client.post(&format!("/api/v1/namespaces/{namespace}/serviceaccounts"), &account).await.expect(201);
        for (name, node) in [("a", "n1"), ("b", "n2"), ("c", "")] {
            let spec = match node {
                "" => json!({"containers": [{"name": "c", "image": "i"}]}),
                node => json!({"nodeName": node, "containers": [{"name": "c", "image": "i"}]}),
            };
            let pod = json!({"metadata": {"name": name, "labels": {"ns": namespace}}, "spec": spec});
            client.post(&format!("/api/v1/namespaces/{namespace}/pods"), &pod).await.expect(201);
        }
    }
    let list = |path: &str| {
        let (client, path) = (client.clone(), path.to_owned());
        async move { names(&client.get(&path).await.expect(200)) }
    };
    let (all, one) = ("/api/v1/pods?", "/api/v1/namespaces/other/pods?");
    assert_eq!(list(&format!("{all}fieldSelector=spec.nodeName%3Dn1")).await, ["a", "a"]);
    assert_eq!(list(&format!("{one}fieldSelector=spec.nodeName%3Dn1")).await, ["a"]);
    assert_eq!(list(&format!("{all}fieldSelector=spec.nodeName%3D")).await, ["c", "c"]);
    assert_eq!(list(&format!("{all}fieldSelector=spec.nodeName%3Dn3")).await, Vec::<String>::new());
    assert_eq!(list(&format!("{all}fieldSelector=spec.nodeName!%3Dn1")).await, ["b", "c", "b", "c"]);
    assert_eq!(list(&format!("{all}fieldSelector=spec.nodeName%3Dn2&labelSelector=ns%3Dother")).await, ["b"]);
    assert_eq!(list(&format!("{all}fieldSelector=metadata.name%3Db")).await, ["b", "b"]);
    assert_eq!(
        list(&format!("{one}fieldSelector=metadata.name%3Db,spec.nodeName%3Dn1")).await,
        Vec::<String>::new()
    );
    assert_eq!(list("/api/v1/namespaces?fieldSelector=metadata.name%3Dother").await, ["other"]);
    let page = client.get(&format!("{all}fieldSelector=spec.nodeName%3Dn1&limit=1")).await.expect(200);
    let token = page["metadata"]["continue"].as_str().unwrap();
    assert_eq!(page["metadata"]["remainingItemCount"], Value::Null, "upstream counts no selected lists");
    let rest = list(&format!("{all}fieldSelector=spec.nodeName%3Dn1&limit=1&continue={token}")).await;
    assert_eq!(rest, ["a"]);
    for path in [
        "/api/v1/pods?watch=1&resourceVersion=0&fieldSelector=spec.nodeName%3Dn2",
        "/api/v1/namespaces?watch=1&resourceVersion=0&fieldSelector=metadata.name%3Dother",
    ] {
        let mut watch = client.watch(path, "application/json").await;
        let first = watch.event().await;
        if path.contains("pods") {
            assert_eq!([first, watch.event().await], ["ADDED b", "ADDED b"]);
            let node = json!({"metadata": {"labels": {"changed": "yes"}}});
            client.patch("/api/v1/namespaces/other/pods/b", "merge", &node).await.expect(200);
            assert_eq!(watch.event().await, "MODIFIED b");
        } else {
            assert_eq!(first, "ADDED other");
            client
                .patch("/api/v1/namespaces/other", "merge", &json!({"metadata": {"labels": {"x": "y"}}}))
                .await
                .expect(200);
            assert_eq!(watch.event().await, "MODIFIED other");
        }
    }
    server.stop().await;
}
