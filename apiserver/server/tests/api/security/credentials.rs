//! Certificates, tokens and impersonation against a running server.

use std::time::Duration;

use mainstay_base::pki::{Ca, Usage};
use serde_json::json;
use time::OffsetDateTime;

use super::service_account;
use crate::server::{TestServer, leaf};

const WHOAMI: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

fn whoami() -> serde_json::Value {
    json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_names_its_user_and_groups() {
    let server = TestServer::start().await;
    let answer = server.user("jane", &["staff"]).post(WHOAMI, &whoami()).await.expect(201);
    let user = &answer["status"]["userInfo"];
    assert_eq!(user["username"], "jane");
    assert_eq!(user["groups"], json!(["staff", "system:authenticated"]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_requested_token_works_until_its_account_is_deleted() {
    let server = TestServer::start().await;
    let admin = server.admin();
    service_account(&admin, "default", "bot").await;
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}});
    let path = "/api/v1/namespaces/default/serviceaccounts/bot";
    let token = admin.post(&format!("{path}/token"), &request).await.expect(201);
    assert_eq!(token["spec"]["audiences"], json!(["https://kubernetes.default.svc.cluster.local"]));
    let bearer = format!("Bearer {}", token["status"]["token"].as_str().unwrap());
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let ask = || async {
        server.anonymous().call(http::Method::POST, WHOAMI, &headers, whoami().to_string()).await
    };
    let answer = ask().await.expect(201);
    assert_eq!(answer["status"]["userInfo"]["username"], "system:serviceaccount:default:bot");
    assert!(
        answer["status"]["userInfo"]["extra"]["authentication.kubernetes.io/credential-id"][0]
            .as_str()
            .unwrap()
            .starts_with("JTI=")
    );
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token["status"]["token"]}
    });
    let reviewed = admin.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await.expect(201);
    assert_eq!(reviewed["status"]["authenticated"], true);
    admin.delete(path).await.expect(200);
    super::until(401, ask).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_request_is_bounded_and_bound() {
    let server = TestServer::start().await;
    let admin = server.admin();
    service_account(&admin, "default", "bot").await;
    let path = "/api/v1/namespaces/default/serviceaccounts/bot/token";
    let ask = |spec: serde_json::Value| {
        let admin = admin.clone();
        async move {
            admin
                .post(
                    path,
                    &json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}),
                )
                .await
        }
    };
    assert_eq!(ask(json!({"expirationSeconds": 599})).await.code, 422);
    let missing = json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "none"}});
    assert_eq!(ask(missing).await.code, 404);
    let unknown = json!({"boundObjectRef": {"apiVersion": "v1", "kind": "ConfigMap", "name": "none"}});
    assert_eq!(ask(unknown).await.code, 400);
    let other = admin
        .post(
            "/api/v1/namespaces/default/serviceaccounts/none/token",
            &json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}),
        )
        .await;
    assert_eq!(other.code, 404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_does_not_hold_is_401_not_a_broken_handshake() {
    let server = TestServer::start().await;
    let now = OffsetDateTime::now_utc();
    let foreign = Ca::generate("test", now, Duration::from_secs(3600)).unwrap();
    for (what, identity) in [
        ("another authority's", leaf(&foreign, "admin", &["system:masters"], Usage::Client)),
        ("a server's", leaf(&server.ca, "admin", &["system:masters"], Usage::Server)),
    ] {
        let answer = server.with_identity(&identity).get("/api/v1/nodes").await;
        assert_eq!((answer.code, answer.reason().as_str()), (401, "Unauthorized"), "{what}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_acts_as_another_user() {
    let server = TestServer::start().await;
    let headers =
        [("impersonate-user", "jane"), ("impersonate-group", "staff"), ("content-type", "application/json")];
    let answer =
        server.admin().call(http::Method::POST, WHOAMI, &headers, whoami().to_string()).await.expect(201);
    assert_eq!(answer["status"]["userInfo"]["username"], "jane");
    assert_eq!(answer["status"]["userInfo"]["groups"], json!(["staff", "system:authenticated"]));
    let nodes = server.admin().call(http::Method::GET, "/api/v1/nodes", &headers, "").await;
    assert_eq!(nodes.code, 403);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_issuer_publishes_its_keys() {
    let server = TestServer::start().await;
    let admin = server.admin();
    let document = admin.get("/.well-known/openid-configuration").await.expect(200);
    assert_eq!(document["issuer"], "https://kubernetes.default.svc.cluster.local");
    assert!(document["jwks_uri"].as_str().unwrap().ends_with("/openid/v1/jwks"));
    let keys = admin.get("/openid/v1/jwks").await;
    assert_eq!(keys.header("content-type"), "application/jwk-set+json");
    assert_eq!(keys.json()["keys"][0]["use"], "sig");
    assert_eq!(server.anonymous().get("/openid/v1/jwks").await.code, 403);
    server.stop().await;
}
