//! An admission webhook behind a real Service: the API server reaches it through the pod that the Service leads to. The
//! pod passes bytes on to this test, which speaks TLS and HTTP: the demo image has no program that does.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mainstay_base::pki::{Ca, LeafRequest, SubjectName, Usage};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::command::eventually;

const HOUR: Duration = Duration::from_secs(3600);

/// A webhook that adds a label to everything and refuses what is called `bad`.
struct Hook {
    port: u16,
    ca_pem: String,
    asked: Receiver<String>,
}

impl Hook {
    fn start(name: &str) -> Self {
        let now = time::OffsetDateTime::now_utc();
        let ca = Ca::generate("hook", now, HOUR).unwrap();
        let request = LeafRequest {
            common_name: name.to_owned(),
            organization: None,
            names: vec![SubjectName::Dns(name.to_owned())],
            usage: Usage::Server,
            validity: HOUR,
        };
        let leaf = ca.issue(&request, now).unwrap();
        let chain = CertificateDer::pem_slice_iter(leaf.certificate_pem.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.collect::<Result<_, _>>().unwrap(), key)
            .unwrap();
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, asked) = channel();
        std::thread::spawn(move || accept(&listener, &Arc::new(config), &sender));
        Self { port, ca_pem: ca.certificate_pem().to_owned(), asked }
    }
}

fn accept(listener: &TcpListener, config: &Arc<ServerConfig>, asked: &Sender<String>) {
    for stream in listener.incoming().map_while(Result::ok) {
        let connection = ServerConnection::new(Arc::clone(config)).unwrap();
        let (stream, asked) = (StreamOwned::new(connection, stream), asked.clone());
        // A client that goes away ends its connection, and nothing else.
        std::thread::spawn(move || answer(stream, &asked));
    }
}

/// Answers one request; none where the client goes away before.
fn answer(stream: StreamOwned<ServerConnection, TcpStream>, asked: &Sender<String>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let review: Value = serde_json::from_slice(&body).ok()?;
    let name = review["request"]["name"].as_str().unwrap_or_default().to_owned();
    asked.send(name.clone()).ok()?;
    let mut response = json!({"uid": review["request"]["uid"], "allowed": name != "bad"});
    if name == "bad" {
        response["status"] = json!({"message": "bad is not welcome", "code": 403});
    } else {
        let patch = json!([{"op": "add", "path": "/metadata/labels", "value": {"hooked": "yes"}}]);
        response["patchType"] = "JSONPatch".into();
        response["patch"] = STANDARD.encode(patch.to_string()).into();
    }
    let text = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
        .to_string();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
    let stream = stream.get_mut();
    write!(stream, "{head}Content-Length: {}\r\n\r\n{text}", text.len()).ok()?;
    stream.conn.send_close_notify();
    stream.flush().ok()
}

#[test]
fn a_webhook_is_called_through_its_services_endpoints() {
    let cluster = Cluster::start();
    let k = |arguments: &[&str]| cluster.kubectl(arguments).ok();
    let hook = Hook::start("hook.default.svc");
    let node_ip =
        k(&["get", "nodes", "-o", "jsonpath={.items[0].status.addresses[?(@.type=='InternalIP')].address}"]);
    let relay = format!("exec busybox nc -ll -p 8443 -e busybox nc {node_ip} {}", hook.port);
    let world = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "hook", "labels": {"app": "hook"}}, "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "relay", "image": "mainstay-hello:1", "imagePullPolicy": "Never",
                "command": ["sh", "-c", relay], "ports": [{"name": "https", "containerPort": 8443}]}]}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "hook"},
            "spec": {"selector": {"app": "hook"}, "ports": [{"port": 443, "targetPort": "https"}]}},
    ]});
    cluster.apply(&world.to_string());
    k(&["wait", "--for=condition=Ready", "pod/hook", "--timeout=60s"]);
    let configuration = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "hook"}, "webhooks": [{
            "name": "hook.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
            "timeoutSeconds": 5,
            "clientConfig": {"caBundle": STANDARD.encode(&hook.ca_pem), "service": {"namespace": "default", "name": "hook", "path": "/mutate"}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}]}]});
    cluster.apply(&configuration.to_string());
    let hooked = eventually(Duration::from_secs(20), || {
        let made = cluster.kubectl(&["create", "configmap", "good"]);
        let label =
            cluster.kubectl(&["get", "configmap", "good", "-o", "jsonpath={.metadata.labels.hooked}"]);
        if label.stdout == "yes" {
            return Some(());
        }
        // Made before the server knew of the webhook, or refused while the endpoint was not known.
        drop(cluster.kubectl(&["delete", "configmap", "good", "--ignore-not-found"]));
        eprintln!("{made:?}");
        None
    });
    assert!(hooked.is_some(), "the webhook labels what is created");
    assert!(hook.asked.try_iter().any(|name| name == "good"));
    let refused = cluster.kubectl(&["create", "configmap", "bad"]);
    assert!(
        refused.code == 1
            && refused
                .stderr
                .contains("admission webhook \"hook.example.com\" denied the request: bad is not welcome"),
        "{refused:?}"
    );
    // Without an endpoint the policy says that creation fails.
    k(&["delete", "pod", "hook"]);
    let failed = eventually(Duration::from_secs(20), || {
        let said = cluster.kubectl(&["create", "configmap", "later", "--dry-run=server"]);
        said.stderr.contains("failed calling webhook \"hook.example.com\"").then_some(())
    });
    assert!(failed.is_some());
}
