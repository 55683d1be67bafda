//! Which requests are approved, signed and removed.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use mainstay_agents_kit::reconcile::Next;
use mainstay_base::pki::Ca;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::approve::{self, Recognized, recognized};
use super::authority::Authority;
use super::sign::{Wanted, wanted};
use super::{approve_serving, clean, sign};

const KUBELET: &str = "kubernetes.io/kube-apiserver-client-kubelet";

fn pem(name: &str, organizations: &[&str], dns: &[&str]) -> String {
    let names: Vec<String> = dns.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    let mut subject = DistinguishedName::new();
    for organization in organizations {
        subject.push(DnType::OrganizationName, *organization);
    }
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
}

fn request(
    signer: &str,
    pem: &str,
    user: &str,
    usages: &[&str],
    conditions: Value,
) -> CertificateSigningRequest {
    let encoded = k8s_openapi::ByteString(pem.as_bytes().to_vec());
    serde_json::from_value(json!({
        "metadata": {"name": "r", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"signerName": signer, "request": encoded, "username": user, "usages": usages},
        "status": {"conditions": conditions}
    }))
    .unwrap()
}

const CLIENT: &[&str] = &["client auth", "digital signature"];

fn approved() -> Value {
    json!([{"type": "Approved", "status": "True", "lastUpdateTime": "2026-01-01T01:00:00Z"}])
}

#[test]
fn a_node_asks_for_itself_or_somebody_for_it() {
    let own = pem("system:node:a", &["system:nodes"], &[]);
    let by =
        |user: &str, pem: &str, usages: &[&str]| recognized(&request(KUBELET, pem, user, usages, json!([])));
    assert_eq!(by("system:node:a", &own, CLIENT), [Recognized::SelfNodeClient, Recognized::NodeClient]);
    assert_eq!(by("system:bootstrap:abcdef", &own, CLIENT), [Recognized::NodeClient]);
    assert!(by("system:node:a", &own, &["client auth", "server auth"]).is_empty());
    assert!(by("x", &pem("admin", &["system:masters"], &[]), CLIENT).is_empty());
    assert!(by("x", &pem("system:node:a", &["system:nodes"], &["a.example.com"]), CLIENT).is_empty());
    assert!(
        recognized(&request("kubernetes.io/kube-apiserver-client", &own, "x", CLIENT, json!([]))).is_empty()
    );
    let denied = json!([{"type": "Denied", "status": "True"}]);
    assert!(recognized(&request(KUBELET, &own, "x", CLIENT, denied)).is_empty());
    let world = approve::World {
        request: Arc::new(request(KUBELET, &own, "x", CLIENT, json!([]))),
        granted: Some(Recognized::NodeClient),
        now: "2026-01-01T00:00:01Z".parse().unwrap(),
    };
    let (steps, _) = approve::plan(&world);
    let text = format!("{steps:?}");
    assert!(text.contains("Auto approving kubelet client certificate after SubjectAccessReview."), "{text}");
}

#[test]
fn only_approved_requests_within_the_signers_rules_are_signed() {
    let client = "kubernetes.io/kube-apiserver-client";
    let jane = pem("jane", &["devs"], &[]);
    assert_eq!(wanted(&request(client, &jane, "x", CLIENT, json!([]))), Wanted::Nothing);
    assert_eq!(
        wanted(&request(client, &jane, "x", CLIENT, approved())),
        Wanted::Sign(Duration::from_secs(365 * 86_400))
    );
    assert_eq!(wanted(&request("example.com/mine", &jane, "x", CLIENT, approved())), Wanted::Nothing);
    let mut short = request(client, &jane, "x", CLIENT, approved());
    short.spec.expiration_seconds = Some(700);
    assert_eq!(wanted(&short), Wanted::Sign(Duration::from_secs(700)));
    let refused = |signer: &str, pem: &str, usages: &[&str]| match wanted(&request(
        signer,
        pem,
        "x",
        usages,
        approved(),
    )) {
        Wanted::Refuse(why) => why,
        other => panic!("{other:?}"),
    };
    assert!(refused(client, &jane, &["server auth"]).starts_with("usages did not match"));
    assert_eq!(refused(KUBELET, &jane, CLIENT), "subject organization is not system:nodes");
    let serving = "kubernetes.io/kubelet-serving";
    let node = pem("system:node:a", &["system:nodes"], &[]);
    assert_eq!(refused(serving, &node, &["server auth"]), "DNS or IP subjectAltName is required");
    assert!(!refused(client, "nonsense", CLIENT).is_empty());
}

#[test]
fn a_certificate_has_the_requests_subject_and_the_signers_usages() {
    let now = OffsetDateTime::now_utc();
    let ca = Ca::generate("ca", now, Duration::from_secs(3600)).unwrap();
    let authority = Authority {
        certificate_pem: ca.certificate_pem().to_owned(),
        key_pem: ca.key_pem().to_owned(),
        lifetime: Duration::from_secs(365 * 86_400),
    };
    let usages = ["client auth".to_owned(), "digital signature".to_owned()];
    let text = authority
        .sign(&pem("jane", &["devs"], &[]), &usages, now, now + Duration::from_secs(86_400))
        .unwrap();
    let (_, block) = x509_parser::pem::parse_x509_pem(text.as_bytes()).unwrap();
    let certificate = block.parse_x509().unwrap();
    let groups: Vec<_> = certificate.subject().iter_organization().map(|one| one.as_str().unwrap()).collect();
    assert_eq!(groups, ["devs"]);
    assert!(!certificate.is_ca());
    let extended = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.client_auth && !extended.server_auth);
    let ends = mainstay_base::pki::not_after(&text).unwrap();
    assert_eq!(
        ends,
        mainstay_base::pki::not_after(ca.certificate_pem()).unwrap(),
        "not beyond its authority"
    );
    let world = sign::World {
        request: Arc::new(request("s", "", "x", CLIENT, approved())),
        result: sign::Signed::Certificate(text),
        now: "2026-01-01T00:00:01Z".parse().unwrap(),
    };
    assert!(format!("{:?}", sign::plan(&world)).contains("certificate"));
}

#[test]
fn finished_requests_go_after_an_hour_and_forgotten_ones_after_a_day() {
    let plan = |conditions: Value, certificate: Option<&str>, now: &str| {
        let mut request = request(KUBELET, "", "x", CLIENT, conditions);
        if let Some(text) = certificate {
            let status = request.status.get_or_insert_default();
            status.certificate = Some(k8s_openapi::ByteString(text.as_bytes().to_vec()));
        }
        let (steps, next) =
            clean::plan(&clean::World { request: Arc::new(request), now: now.parse().unwrap() });
        (steps.len(), next)
    };
    assert_eq!(plan(json!([]), None, "2026-01-01T23:00:00Z"), (0, Next::After(Duration::from_secs(3600))));
    assert_eq!(plan(json!([]), None, "2026-01-02T00:00:00Z"), (1, Next::Done));
    assert_eq!(
        plan(approved(), Some("x"), "2026-01-01T01:59:00Z"),
        (0, Next::After(Duration::from_secs(60)))
    );
    assert_eq!(plan(approved(), Some("x"), "2026-01-01T02:00:00Z"), (1, Next::Done));
    assert_eq!(plan(approved(), None, "2026-01-01T02:00:00Z").0, 0, "not signed yet");
}

#[test]
fn a_node_serves_under_its_own_name_and_addresses_only() {
    const SERVING: &str = "kubernetes.io/kubelet-serving";
    let nodes = ["a 10.0.0.1", "b 10.0.0.2", "thief 10.0.0.9"].map(|line| {
        let (name, ip) = line.split_once(' ').unwrap();
        let addresses = json!([{"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": name}]);
        let node = json!({"metadata": {"name": name}, "status": {"addresses": addresses}});
        Arc::new(serde_json::from_value(node).unwrap())
    });
    let asked = |user: &str, subject: &str, names: &[&str], usage: &str| {
        let pem = pem(subject, &["system:nodes"], names);
        let world = approve_serving::World {
            request: Arc::new(request(SERVING, &pem, user, &[usage], json!([]))),
            nodes: nodes.to_vec(),
            servers: vec!["10.0.0.9".parse().unwrap()],
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
        };
        (approve_serving::refusal(&world), approve_serving::plan(&world).0.len())
    };
    let own = "system:node:a";
    assert_eq!(asked(own, own, &["a", "10.0.0.1"], "server auth"), (None, 1));
    for (user, subject, names, usage) in [
        (own, own, &["a", "10.0.0.2"][..], "server auth"),
        (own, own, &["a", "127.0.0.1"], "server auth"),
        (own, own, &["kubernetes", "10.0.0.1"], "server auth"),
        (own, own, &["a", "10.0.0.1"], "client auth"),
        (own, "system:node:b", &["b", "10.0.0.2"], "server auth"),
        ("system:node:c", "system:node:c", &["c"], "server auth"),
        ("system:node:thief", "system:node:thief", &["10.0.0.9"], "server auth"),
    ] {
        let (why, steps) = asked(user, subject, names, usage);
        assert!(why.is_some() && steps == 0, "{user} as {subject} for {names:?}");
    }
}
