//! A server for one test.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use mainstay_apiserver_server::authz::webhook::AuthorizationConfig;
use mainstay_apiserver_server::config::{
    AdmissionConfig, AuthenticationSettings, FrontProxy, KubeletClient, Limits, PemPair, ServerConfig,
    ServiceAccountKeys, SystemRandomness,
};
use mainstay_apiserver_server::registry::Registry;
use mainstay_apiserver_server::types::Assembly;
use mainstay_apiserver_server::{ApiServer, start, start_with};
use mainstay_base::lifecycle::{SystemClock, Tasks};
use mainstay_base::pki::{Ca, LeafRequest, SubjectName, Usage};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::store_rig::{StoreKind, TestStore};

/// A running server with its store and its CA.
pub(crate) struct TestServer {
    pub(crate) server: ApiServer,
    pub(crate) store: TestStore,
    pub(crate) tasks: Tasks,
    pub(crate) ca: Ca,
    dir: TempDir,
}

/// What a server is started with.
struct Parts {
    config: ServerConfig,
    store: TestStore,
    tasks: Tasks,
    ca: Ca,
    dir: TempDir,
}

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A certificate of `ca`.
pub(crate) fn leaf(ca: &Ca, name: &str, groups: &[&str], usage: Usage) -> PemPair {
    let names = if usage == Usage::Client { vec![] } else { vec![SubjectName::Ip(LOCALHOST)] };
    assert!(groups.len() < 2, "a certificate carries one group");
    let request = LeafRequest {
        common_name: name.to_owned(),
        organization: groups.first().map(|group| (*group).to_owned()),
        names,
        usage,
        validity: Duration::from_secs(3600),
    };
    let leaf = ca.issue(&request, OffsetDateTime::now_utc()).unwrap();
    PemPair { cert_pem: leaf.certificate_pem.into_bytes(), key_pem: leaf.key_pem.into_bytes() }
}

/// Limits for tests: bookmarks come soon, endings too.
pub(crate) fn limits() -> Limits {
    Limits {
        bookmark_interval: Duration::from_millis(200),
        shutdown_grace: Duration::from_secs(2),
        ..Limits::default()
    }
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::with(limits()).await
    }

    pub(crate) async fn with(limits: Limits) -> Self {
        Self::configured(|config| config.limits = limits).await
    }

    /// A server whose configuration differs from the usual one.
    pub(crate) async fn configured(adjust: impl FnOnce(&mut ServerConfig)) -> Self {
        let mut parts = Self::prepare().await;
        adjust(&mut parts.config);
        let server = start(parts.config, parts.store.backing(), parts.tasks.clone()).await.unwrap();
        Self { server, store: parts.store, tasks: parts.tasks, ca: parts.ca, dir: parts.dir }
    }

    /// A server with gates and endpoints of the test's own, and no first objects.
    pub(crate) async fn assembled(assemble: impl FnOnce(&Registry) -> Assembly) -> Self {
        let parts = Self::prepare().await;
        let server =
            start_with(parts.config, parts.store.backing(), parts.tasks.clone(), assemble).await.unwrap();
        Self { server, store: parts.store, tasks: parts.tasks, ca: parts.ca, dir: parts.dir }
    }

    /// Ends this server and starts another on the same store, with another configuration and another CA.
    pub(crate) async fn restart(self, adjust: impl FnOnce(&mut ServerConfig)) -> Self {
        self.tasks.close_and_join(Duration::from_secs(10)).await.unwrap();
        drop(self.server);
        let kind = self.store.kind;
        self.store.close().await;
        let mut parts = Self::prepare_in(kind, self.dir).await;
        adjust(&mut parts.config);
        let server = start(parts.config, parts.store.backing(), parts.tasks.clone()).await.unwrap();
        Self { server, store: parts.store, tasks: parts.tasks, ca: parts.ca, dir: parts.dir }
    }

    async fn prepare() -> Parts {
        Self::prepare_in(StoreKind::chosen(), tempfile::tempdir().unwrap()).await
    }

    async fn prepare_in(kind: StoreKind, dir: TempDir) -> Parts {
        let store = TestStore::open(kind, dir.path()).await;
        Self::prepare_over(store, dir)
    }

    /// A server on a store of the test's own choice.
    pub(crate) async fn over(store: TestStore, dir: TempDir) -> Self {
        let parts = Self::prepare_over(store, dir);
        let server = start(parts.config, parts.store.backing(), parts.tasks.clone()).await.unwrap();
        Self { server, store: parts.store, tasks: parts.tasks, ca: parts.ca, dir: parts.dir }
    }

    fn prepare_over(store: TestStore, dir: TempDir) -> Parts {
        let ca = Ca::generate("test", OffsetDateTime::now_utc(), Duration::from_secs(3600)).unwrap();
        let tasks = Tasks::new("test", CancellationToken::new());
        let authorities = watch::channel(ca.certificate_pem().to_owned()).1;
        let (_keep, serving) = watch::channel(leaf(&ca, "server", &[], Usage::Server));
        let config = ServerConfig {
            bind: (LOCALHOST, 0).into(),
            advertise: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            serving,
            client_ca_pem: authorities.clone(),
            service_account: ServiceAccountKeys {
                signing_key_pem: mainstay_base::pki::generate_key_pem().unwrap().into_bytes(),
                verification_keys_pem: Vec::new(),
                issuer: "https://kubernetes.default.svc.cluster.local".to_owned(),
                audiences: vec!["https://kubernetes.default.svc.cluster.local".to_owned()],
                expiration_max: Duration::from_secs(3600),
            },
            front_proxy: Some(FrontProxy {
                identity: watch::channel(leaf(&ca, "front-proxy-client", &[], Usage::Client)).1,
                ca_pem: authorities.clone(),
            }),
            kubelet: KubeletClient {
                identity: watch::channel(leaf(&ca, "kubelet-client", &[], Usage::Client)).1,
                ca_pem: authorities,
            },
            service_cidr: "10.96.0.0/16".parse().unwrap(),
            cluster_cidr: None,
            node_ports: 30000..=32767,
            anonymous: true,
            authorization: AuthorizationConfig::default(),
            admission: AdmissionConfig::default(),
            audit: None,
            authentication: AuthenticationSettings::default(),
            encryption: None,
            endpoints: Vec::new(),
            stale_reads: false,
            tracer: None,
            limits: limits(),
            clock: Arc::new(SystemClock),
            randomness: Arc::new(SystemRandomness),
            metrics: prometheus::Registry::new(),
        };
        Parts { config, store, tasks, ca, dir }
    }

    /// A client with all rights.
    pub(crate) fn admin(&self) -> Client {
        self.user("admin", &["system:masters"])
    }

    /// A client with a certificate.
    pub(crate) fn user(&self, name: &str, groups: &[&str]) -> Client {
        let pair = leaf(&self.ca, name, groups, Usage::Client);
        Client::new(self.server.local_addr(), self.ca.certificate_pem().as_bytes(), Some(&pair))
    }

    /// A client with this certificate.
    pub(crate) fn with_identity(&self, identity: &PemPair) -> Client {
        Client::new(self.server.local_addr(), self.ca.certificate_pem().as_bytes(), Some(identity))
    }

    /// A client without credentials.
    pub(crate) fn anonymous(&self) -> Client {
        Client::new(self.server.local_addr(), self.ca.certificate_pem().as_bytes(), None)
    }

    /// Ends the server and the store, and checks that every task ended.
    pub(crate) async fn stop(self) {
        self.tasks.close_and_join(Duration::from_secs(10)).await.unwrap();
        self.store.close().await;
    }
}
