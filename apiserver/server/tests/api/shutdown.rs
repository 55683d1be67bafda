//! The end of a server, in its stages: not ready, draining, gone.

use serde_json::json;

use crate::client::config_map;
use crate::server::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_leaves_says_so_first_and_serves_on() {
    let server = TestServer::start().await;
    let admin = server.admin();
    assert_eq!(admin.get("/readyz").await.code, 200);
    let mut told = admin.watch("/readyz?watch=true", "*/*").await;
    while told.buffer != "ok\nok\nok\n" {
        assert!(told.fill().await, "it goes on to say so: {:?}", told.buffer);
    }
    let unknown = server.anonymous().get("/readyz?watch=true").await;
    assert_eq!((unknown.code, &unknown.bytes[..]), (200, &b"ok"[..]), "who is not known hears it once");
    server.server.announce_shutdown();
    while told.fill().await {} // it ends
    let ready = admin.get("/readyz").await;
    assert_eq!(ready.code, 500);
    assert!(String::from_utf8_lossy(&ready.bytes).contains("[-]shutdown failed"), "{ready:?}");
    assert_eq!(admin.get("/readyz?watch=true").await.code, 500, "who asks to be told is answered at once");
    assert_eq!(admin.get("/livez").await.code, 200);
    let path = "/api/v1/namespaces/default/configmaps";
    admin.post(path, &config_map("late", &json!({}), &json!({}))).await.expect(201);
    let mut watch = admin.watch(&format!("{path}?watch=1&resourceVersion=0"), "application/json").await;
    assert_eq!(watch.event().await, "ADDED late");
    // The watch ends with the server, and the server does not wait for it in vain.
    let read_to_the_end = async { while watch.next().await.is_some() {} };
    tokio::join!(server.stop(), read_to_the_end);
}
