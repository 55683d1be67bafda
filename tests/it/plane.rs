//! One control plane for one test.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use kube::api::ListParams;
use kube::{Api, Client};
use mainstay_apiserver_server::authz::webhook::AuthorizationConfig;
use mainstay_apiserver_server::config::{
    AdmissionConfig, AuthenticationSettings, KubeletClient, Limits, PemPair, ServerConfig,
    ServiceAccountKeys, SystemRandomness,
};
use mainstay_base::lifecycle::{SystemClock, Tasks};
use mainstay_base::pki::{Ca, Leaf, LeafRequest, SubjectName, Usage, generate_key_pem};
use mainstay_store::Store;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::hollow_node::HollowNode;

/// How long a test waits for anything.
pub(crate) const DEADLINE: Duration = Duration::from_secs(40);
const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// A running control plane.
pub(crate) struct Plane {
    store: Store,
    api_tasks: Tasks,
    agent_tasks: Tasks,
    ca: Ca,
    url: String,
    _serving: watch::Sender<PemPair>,
    _dir: tempfile::TempDir,
}

impl Plane {
    /// Starts everything, with one hollow node for each of `nodes`.
    pub(crate) async fn start(nodes: &[&str]) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default()); // another test of this program may have done it
        let dir = tempfile::tempdir().unwrap();
        let config = mainstay_store::Config {
            dir: dir.path().join("store"),
            sync: false,
            ..mainstay_store::Config::default()
        };
        let store = Store::open(config).await.unwrap();
        let ca = Ca::generate("it", OffsetDateTime::now_utc(), Duration::from_secs(3600)).unwrap();
        let stop = CancellationToken::new();
        let (api_tasks, agent_tasks) = (Tasks::new("apiserver", stop.clone()), Tasks::new("agents", stop));
        let (serving, receiver) = watch::channel(pair(&leaf(&ca, "kube-apiserver", None, Usage::Server)));
        let api = mainstay_apiserver_server::start(server(&ca, receiver), store.clone(), api_tasks.clone())
            .await
            .unwrap();
        let url = format!("https://{}", api.local_addr());
        let plane = Self { store, api_tasks, agent_tasks, ca, url, _serving: serving, _dir: dir };
        plane.start_agents(nodes).await;
        plane
    }

    async fn start_agents(&self, nodes: &[&str]) {
        let scheduler = self.client("system:kube-scheduler", None);
        mainstay_agents_scheduler::run(
            mainstay_agents_scheduler::Config::default(),
            scheduler,
            &self.agent_tasks,
        );
        let controllers = self.client("system:kube-controller-manager", None);
        let signing = mainstay_agents_controllers::Authority {
            certificate_pem: self.ca.certificate_pem().to_owned(),
            key_pem: self.ca.key_pem().to_owned(),
            lifetime: Duration::from_secs(365 * 86_400),
        };
        let config = mainstay_agents_controllers::Config {
            signing: Some(watch::channel(signing).1),
            ..mainstay_agents_controllers::Config::new(watch::channel(self.ca.certificate_pem().to_owned()).1)
        };
        mainstay_agents_controllers::run(config, controllers, &self.agent_tasks);
        for name in nodes {
            let client = self.client(&format!("system:node:{name}"), Some("system:nodes"));
            HollowNode::start(name, client, &self.agent_tasks).await;
        }
    }

    /// A client with a certificate for this user and group.
    pub(crate) fn client(&self, user: &str, group: Option<&str>) -> Client {
        let leaf = leaf(&self.ca, user, group, Usage::Client);
        self.with_certificate(&leaf.certificate_pem, &leaf.key_pem)
    }

    /// A client with this certificate.
    pub(crate) fn with_certificate(&self, certificate_pem: &str, key_pem: &str) -> Client {
        Client::try_from(self.settings(certificate_pem, key_pem)).unwrap()
    }

    /// What such a client is made of.
    pub(crate) fn settings(&self, certificate_pem: &str, key_pem: &str) -> kube::Config {
        let mut config = kube::Config::new(self.url.parse().unwrap());
        config.root_cert = Some(vec![der(self.ca.certificate_pem())]);
        config.auth_info.client_certificate_data = Some(base64(certificate_pem));
        config.auth_info.client_key_data = Some(base64(key_pem).into());
        config
    }

    /// A new certificate for this user and group.
    pub(crate) fn leaf(&self, user: &str, group: Option<&str>) -> Leaf {
        leaf(&self.ca, user, group, Usage::Client)
    }

    /// A client with all rights.
    pub(crate) fn admin(&self) -> Client {
        self.client("admin", Some("system:masters"))
    }

    /// Ends everything and checks that every task ended.
    pub(crate) async fn stop(self) {
        self.agent_tasks.close_and_join(Duration::from_secs(10)).await.unwrap();
        self.api_tasks.close_and_join(Duration::from_secs(10)).await.unwrap();
        self.store.close().await.unwrap();
    }
}

/// The objects of a kind, once they are as `wanted` says.
pub(crate) async fn eventually<K>(api: &Api<K>, what: &str, wanted: impl Fn(&[K]) -> bool) -> Vec<K>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut seen = Vec::new();
    let found = async {
        loop {
            seen = api.list(&ListParams::default()).await.unwrap().items;
            if wanted(&seen) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let reached = tokio::time::timeout(DEADLINE, found).await.is_ok();
    assert!(reached, "not within {DEADLINE:?}: {what}; last seen: {seen:#?}");
    seen
}

/// The configuration of an API server on any port of 127.0.0.1.
pub(crate) fn server(ca: &Ca, serving: watch::Receiver<PemPair>) -> ServerConfig {
    let authorities = watch::channel(ca.certificate_pem().to_owned()).1;
    ServerConfig {
        bind: (LOCALHOST, 0).into(),
        advertise: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), // loopback is refused as an endpoint
        serving,
        client_ca_pem: authorities.clone(),
        service_account: ServiceAccountKeys {
            signing_key_pem: generate_key_pem().unwrap().into_bytes(),
            verification_keys_pem: Vec::new(),
            issuer: ISSUER.to_owned(),
            audiences: vec![ISSUER.to_owned()],
            expiration_max: Duration::from_secs(3600),
        },
        front_proxy: None,
        kubelet: KubeletClient {
            identity: watch::channel(pair(&leaf(ca, "kubelet-client", None, Usage::Client))).1,
            ca_pem: authorities,
        },
        service_cidr: "10.96.0.0/16".parse().unwrap(),
        cluster_cidr: None,
        node_ports: 30_000..=32_767,
        anonymous: true,
        authorization: AuthorizationConfig::default(),
        admission: AdmissionConfig::default(),
        audit: None,
        authentication: AuthenticationSettings::default(),
        encryption: None,
        endpoints: Vec::new(),
        stale_reads: false,
        tracer: None,
        limits: Limits::default(),
        clock: Arc::new(SystemClock),
        randomness: Arc::new(SystemRandomness),
        metrics: prometheus::Registry::new(),
    }
}

/// A certificate of `ca`; a server's is for 127.0.0.1 to 127.0.0.3.
pub(crate) fn leaf(ca: &Ca, name: &str, group: Option<&str>, usage: Usage) -> Leaf {
    let names = match usage {
        Usage::Client => vec![],
        _ => (1..=3).map(|last| SubjectName::Ip(IpAddr::from([127, 0, 0, last]))).collect(),
    };
    let request = LeafRequest {
        common_name: name.to_owned(),
        organization: group.map(str::to_owned),
        names,
        usage,
        validity: Duration::from_secs(3600),
    };
    ca.issue(&request, OffsetDateTime::now_utc()).unwrap()
}

/// As the API server takes it.
pub(crate) fn pair(leaf: &Leaf) -> PemPair {
    PemPair {
        cert_pem: leaf.certificate_pem.clone().into_bytes(),
        key_pem: leaf.key_pem.clone().into_bytes(),
    }
}

pub(crate) fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

pub(crate) fn der(pem: &str) -> Vec<u8> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}
