//! Callers that are known by other means than the cluster's own certificates and tokens.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::Method;
use mainstay_apiserver_server::authn::SigningKeys;
use mainstay_apiserver_server::authn::front_proxy::FrontProxyConfig;
use mainstay_apiserver_server::authn::jwt::AuthenticationConfig;
use mainstay_apiserver_server::authn::static_tokens::StaticTokens;
use mainstay_base::pki::{Ca, Usage, generate_key_pem};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::arrange::until;
use super::webhook_sink::Sink;
use crate::client::Client;
use crate::server::{TestServer, leaf};

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

/// Who the server takes the caller for; the code where it knows nobody.
async fn known(client: &Client, headers: &[(&str, &str)]) -> Result<Value, u16> {
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).to_string();
    let headers: Vec<(&str, &str)> = [&[("content-type", "application/json")], headers].concat();
    let answer = client.call(Method::POST, REVIEWS, &headers, body).await;
    if answer.code == 201 { Ok(answer.json()["status"]["userInfo"].clone()) } else { Err(answer.code) }
}

async fn by_token(server: &TestServer, token: &str) -> Result<Value, u16> {
    known(&server.anonymous(), &[("authorization", &format!("Bearer {token}"))]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_a_file_and_of_bootstrap_secrets_name_their_users() {
    let server = TestServer::configured(|config| {
        config.authentication.static_tokens = StaticTokens::parse("sesame,jane,7,\"devs,ops\"").unwrap();
        config.authentication.bootstrap_tokens = true;
    })
    .await;
    let jane = by_token(&server, "sesame").await.unwrap();
    assert_eq!(
        (&jane["username"], &jane["groups"]),
        (&json!("jane"), &json!(["devs", "ops", "system:authenticated"]))
    );
    assert_eq!(by_token(&server, "sesam").await, Err(401));
    let token = "abcdef.0123456789abcdef";
    assert_eq!(by_token(&server, token).await, Err(401));
    let admin = server.admin();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
        "metadata": {"name": "bootstrap-token-abcdef", "namespace": "kube-system"},
        "stringData": {
            "token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
            "auth-extra-groups": "system:bootstrappers:workers"
        }
    });
    let path = "/api/v1/namespaces/kube-system/secrets";
    admin.post(path, &secret).await.expect(201);
    // Known, but not allowed to list namespaces: the server has taken the secret in.
    until(403, || server_call(&server, token)).await;
    let node = by_token(&server, token).await.unwrap();
    assert_eq!(node["username"], "system:bootstrap:abcdef");
    assert_eq!(
        node["groups"],
        json!(["system:bootstrappers", "system:bootstrappers:workers", "system:authenticated"])
    );
    assert_eq!(by_token(&server, "abcdef.0123456789abcdee").await, Err(401));
    let over = json!({"stringData": {"expiration": "2020-01-01T00:00:00Z"}});
    admin.patch(&format!("{path}/bootstrap-token-abcdef"), "merge", &over).await.expect(200);
    until(401, || server_call(&server, token)).await;
    server.stop().await;
}

async fn server_call(server: &TestServer, token: &str) -> crate::client::Answer {
    let headers = [("authorization", format!("Bearer {token}"))];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    server.anonymous().call(Method::GET, "/api/v1/namespaces", &headers, "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn b067_only_a_front_proxys_own_certificate_makes_its_headers_count() {
    let proxies = Ca::generate("proxies", OffsetDateTime::now_utc(), Duration::from_secs(3600)).unwrap();
    let settings = FrontProxyConfig {
        ca_pem: proxies.certificate_pem().as_bytes().to_vec(),
        allowed_names: vec!["front".to_owned()],
        username_headers: vec!["x-remote-user".to_owned()],
        uid_headers: vec!["x-remote-uid".to_owned()],
        group_headers: vec!["x-remote-group".to_owned()],
        extra_prefixes: vec!["x-remote-extra-".to_owned()],
    };
    let server = TestServer::configured(|config| config.authentication.front_proxy = Some(settings)).await;
    let headers = [("x-remote-user", "jane"), ("x-remote-group", "devs"), ("x-remote-extra-scopes", "all")];
    let proxy = server.with_identity(&leaf(&proxies, "front", &[], Usage::Client));
    let jane = known(&proxy, &headers).await.unwrap();
    assert_eq!(
        (&jane["username"], &jane["groups"]),
        (&json!("jane"), &json!(["devs", "system:authenticated"]))
    );
    assert_eq!(jane["extra"]["scopes"], json!(["all"]));
    let other = server.with_identity(&leaf(&proxies, "other", &[], Usage::Client));
    assert_eq!(known(&other, &headers).await, Err(401), "a name that is not allowed");
    assert_eq!(
        known(&proxy, &[]).await,
        Err(401),
        "no user is stated, and the certificate is none of a user"
    );
    let joe = known(&server.user("joe", &[]), &headers).await.unwrap();
    assert_eq!(joe["username"], "joe", "the cluster's own certificates state nobody else");
    server.stop().await;
}

/// An issuer of tokens over TLS.
pub(crate) struct Issuer {
    pub(crate) url: String,
    pub(crate) ca_pem: String,
    key_pem: String,
    key_id: String,
    _sink: Sink,
}

impl Issuer {
    pub(crate) async fn start() -> Self {
        let key_pem = generate_key_pem().unwrap();
        let keys = SigningKeys::new(key_pem.as_bytes(), &[]).unwrap();
        let jwks = serde_json::to_value(keys.jwks()).unwrap();
        let key_id = jwks["keys"][0]["kid"].as_str().unwrap().to_owned();
        let own: Arc<OnceLock<String>> = Arc::default();
        let url = Arc::clone(&own);
        let sink = Sink::answering(move |path, _body| {
            let url = url.get().unwrap();
            match path {
                "/.well-known/openid-configuration" => {
                    (200, json!({"issuer": url, "jwks_uri": format!("{url}/keys")}))
                }
                "/keys" => (200, jwks.clone()),
                _ => (404, json!({})),
            }
        })
        .await;
        let remote = sink.remote();
        own.set(remote.url.clone()).unwrap();
        let ca_pem = String::from_utf8(remote.ca_pem.unwrap()).unwrap();
        Self { url: remote.url, ca_pem, key_pem, key_id, _sink: sink }
    }

    /// A token of `jane`, with claims changed.
    pub(crate) fn token(&self, change: &[(&str, Value)]) -> String {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let mut claims = json!({"iss": self.url, "aud": "cluster", "exp": now + 600, "sub": "jane", "teams": ["devs"], "tier": "gold"});
        for (name, value) in change {
            claims[name] = value.clone();
        }
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
        header.kid = Some(self.key_id.clone());
        let key = jsonwebtoken::EncodingKey::from_ec_pem(self.key_pem.as_bytes()).unwrap();
        jsonwebtoken::encode(&header, &claims, &key).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuers_tokens_become_users_as_the_configuration_says() {
    let issuer = Issuer::start().await;
    let text = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
        "jwt": [{
            "issuer": {"url": issuer.url, "audiences": ["cluster"], "certificateAuthority": issuer.ca_pem},
            "claimValidationRules": [{"expression": "claims.tier in ['gold', 'silver']", "message": "no such tier"}],
            "claimMappings": {
                "username": {"claim": "sub", "prefix": "oidc:"},
                "groups": {"expression": "claims.teams.map(t, 'team:' + t)"},
                "extra": [{"key": "example.com/tier", "valueExpression": "claims.tier"}]
            },
            "userValidationRules": [{"expression": "!user.username.startsWith('oidc:root')", "message": "not root"}]
        }],
        "anonymous": {"enabled": true, "conditions": [{"path": "/livez"}]}
    });
    let configuration = AuthenticationConfig::parse(&text.to_string(), &[]).unwrap();
    let server = TestServer::configured(|config| config.authentication.configuration = configuration).await;
    let jane = by_token(&server, &issuer.token(&[])).await.unwrap();
    assert_eq!(
        (&jane["username"], &jane["groups"]),
        (&json!("oidc:jane"), &json!(["team:devs", "system:authenticated"]))
    );
    assert_eq!(jane["extra"]["example.com/tier"], json!(["gold"]));
    for (what, change) in [
        ("tier", ("tier", json!("iron"))),
        ("user", ("sub", json!("root"))),
        ("audience", ("aud", json!("elsewhere"))),
        ("time", ("exp", json!(1_000_000_000))),
        ("issuer", ("iss", json!("https://elsewhere"))),
    ] {
        assert_eq!(by_token(&server, &issuer.token(&[change])).await, Err(401), "{what}");
    }
    let other = Issuer { key_pem: generate_key_pem().unwrap(), ..Issuer::start().await };
    let forged = Issuer { url: issuer.url.clone(), key_id: issuer.key_id.clone(), ..other };
    assert_eq!(by_token(&server, &forged.token(&[])).await, Err(401), "another key");
    assert_eq!(server.anonymous().get("/livez").await.code, 200);
    assert_eq!(
        server.anonymous().get("/readyz").await.code,
        401,
        "anonymous only where the configuration says"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_knows_tokens_and_is_asked_once() {
    let sink = Sink::answering(|_path, review| {
        let user = json!({"username": "jane", "groups": ["devs"]});
        let status = if review["spec"]["token"] == "sesame" {
            json!({"authenticated": true, "user": user})
        } else {
            json!({"authenticated": false})
        };
        (200, json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status}))
    })
    .await;
    let remote = sink.remote();
    let server = TestServer::configured(|config| {
        config.authentication.webhook = Some((remote, Duration::from_secs(120)));
    })
    .await;
    for _ in 0..3 {
        assert_eq!(by_token(&server, "sesame").await.unwrap()["username"], "jane");
    }
    assert_eq!(by_token(&server, "other").await, Err(401));
    assert_eq!(sink.next().await["spec"]["token"], "sesame");
    assert_eq!(sink.next().await["spec"]["token"], "other", "the first answer was remembered");
    server.stop().await;
}
