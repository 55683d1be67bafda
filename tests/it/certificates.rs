//! Requests for certificates, from the request to a client that is known by what was issued.

use futures::TryStreamExt as _;
use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{ObjectMeta, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt as _};
use mainstay_agents_kit::servers::{ServersError, renewing};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde_json::json;
use tokio::sync::watch;

use crate::plane::{DEADLINE, Plane};

type Requests = Api<CertificateSigningRequest>;

/// A request and its key.
fn request(name: &str, signer: &str, subject: (&str, &[&str])) -> (CertificateSigningRequest, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    let mut distinguished = DistinguishedName::new();
    for organization in subject.1 {
        distinguished.push(DnType::OrganizationName, *organization);
    }
    distinguished.push(DnType::CommonName, subject.0);
    params.distinguished_name = distinguished;
    let pem = params.serialize_request(&key).unwrap().pem().unwrap();
    let object = json!({
        "metadata": {"name": name},
        "spec": {"signerName": signer, "request": ByteString(pem.into_bytes()), "usages": ["client auth", "digital signature"]}
    });
    (serde_json::from_value(object).unwrap(), key.serialize_pem())
}

/// What `kubectl certificate approve` and `deny` send.
async fn decide(requests: &Requests, name: &str, decision: &str) {
    let mut request = requests.get(name).await.unwrap();
    let condition =
        json!({"type": decision, "status": "True", "reason": "Kubectl", "message": "decided by a test"});
    let condition = serde_json::from_value(condition).unwrap();
    request.status.get_or_insert_default().conditions.get_or_insert_default().push(condition);
    requests.replace_subresource("approval", name, &PostParams::default(), &request).await.unwrap();
}

async fn until(
    requests: &Requests,
    name: &str,
    wanted: impl Fn(&CertificateSigningRequest) -> bool,
) -> CertificateSigningRequest {
    let found = async {
        loop {
            let request = requests.get(name).await.unwrap();
            if wanted(&request) {
                return request;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(DEADLINE, found).await.expect("the request gets there in time")
}

fn certificate(request: &CertificateSigningRequest) -> Option<String> {
    let certificate = request.status.as_ref()?.certificate.as_ref()?;
    Some(String::from_utf8(certificate.0.clone()).unwrap()).filter(|text| !text.is_empty())
}

fn reasons(request: &CertificateSigningRequest) -> Vec<String> {
    let conditions = request.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.map(|one| format!("{} {}", one.type_, one.reason.clone().unwrap_or_default())).collect()
}

async fn known_as(client: Client) -> (String, Vec<String>) {
    let review =
        Api::all(client).create(&PostParams::default(), &SelfSubjectReview::default()).await.unwrap();
    let user = review.status.unwrap().user_info.unwrap();
    (user.username.unwrap(), user.groups.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approved_request_becomes_a_certificate_that_authenticates() {
    let plane = Plane::start(&[]).await;
    let requests: Requests = Api::all(plane.admin());
    let (object, key) = request("jane", "kubernetes.io/kube-apiserver-client", ("jane", &["devs"]));
    requests.create(&PostParams::default(), &object).await.unwrap();
    decide(&requests, "jane", "Approved").await;
    let issued = until(&requests, "jane", |request| certificate(request).is_some()).await;
    let (name, groups) = known_as(plane.with_certificate(&certificate(&issued).unwrap(), &key)).await;
    assert_eq!(name, "jane");
    assert_eq!(groups, ["devs", "system:authenticated"]);

    let (object, _) = request("denied", "kubernetes.io/kube-apiserver-client", ("eve", &[]));
    requests.create(&PostParams::default(), &object).await.unwrap();
    decide(&requests, "denied", "Denied").await;
    let (object, _) = request("wrong", "kubernetes.io/kube-apiserver-client-kubelet", ("eve", &[]));
    requests.create(&PostParams::default(), &object).await.unwrap();
    decide(&requests, "wrong", "Approved").await;
    let wrong = until(&requests, "wrong", |request| reasons(request).len() == 2).await;
    assert_eq!(reasons(&wrong), ["Approved Kubectl", "Failed SignerValidationFailure"]);
    assert!(certificate(&requests.get("denied").await.unwrap()).is_none());
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_gets_its_certificate_where_its_requester_may() {
    let plane = Plane::start(&[]).await;
    let bindings: Api<ClusterRoleBinding> = Api::all(plane.admin());
    let binding = json!({
        "metadata": {"name": "bootstrap"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
            "name": "system:certificates.k8s.io:certificatesigningrequests:nodeclient"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:bootstrappers"}]
    });
    bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
    let binding = json!({
        "metadata": {"name": "bootstrapper"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:node-bootstrapper"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:bootstrappers"}]
    });
    bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
    let requests: Requests = Api::all(plane.admin());
    let bootstrapper: Requests =
        Api::all(plane.client("system:bootstrap:abcdef", Some("system:bootstrappers")));
    let (object, key) =
        request("node", "kubernetes.io/kube-apiserver-client-kubelet", ("system:node:n", &["system:nodes"]));
    let create = async {
        while bootstrapper.create(&PostParams::default(), &object).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await; // the policy follows the binding
        }
    };
    tokio::time::timeout(DEADLINE, create).await.expect("the requester may ask in time");
    let issued = until(&requests, "node", |request| certificate(request).is_some()).await;
    assert_eq!(reasons(&issued), ["Approved AutoApproved"]);
    let (name, groups) = known_as(plane.with_certificate(&certificate(&issued).unwrap(), &key)).await;
    assert_eq!((name.as_str(), groups.iter().any(|group| group == "system:nodes")), ("system:node:n", true));
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_shows_its_new_certificate_and_a_watch_goes_on_with_the_old_one() {
    let plane = Plane::start(&[]).await;
    let settings = |user: &str| {
        let leaf = plane.leaf(user, Some("system:masters"));
        plane.settings(&leaf.certificate_pem, &leaf.key_pem)
    };
    let shown = watch::Sender::new(settings("before"));
    let make = |settings: &kube::Config| Client::try_from(settings.clone()).map_err(ServersError::Client);
    let client = renewing(shown.subscribe(), make).unwrap();
    assert_eq!(known_as(client.clone()).await.0, "before");
    let maps = Api::<ConfigMap>::default_namespaced(client.clone());
    let mut events = std::pin::pin!(maps.watch(&WatchParams::default().timeout(60), "0").await.unwrap());

    shown.send_replace(settings("after"));
    assert_eq!(known_as(client.clone()).await.0, "after");
    let map = ConfigMap {
        metadata: ObjectMeta { name: Some("m".to_owned()), ..ObjectMeta::default() },
        ..ConfigMap::default()
    };
    maps.create(&PostParams::default(), &map).await.unwrap();
    let seen = async {
        while let Some(event) = events.try_next().await.unwrap() {
            if matches!(&event, WatchEvent::Added(map) if map.name_any() == "m") {
                return true;
            }
        }
        false
    };
    assert!(tokio::time::timeout(DEADLINE, seen).await.expect("it is told in time"), "the watch was not cut");

    // What cannot be used leaves things as they are.
    let mut broken = settings("broken");
    broken.auth_info.client_key_data = Some("bm8ga2V5".to_owned().into());
    shown.send_replace(broken);
    assert_eq!(known_as(client).await.0, "after");
    plane.stop().await;
}
