//! Three API servers, each over its own member of one store, in one process.

use std::collections::BTreeSet;
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{
    DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions, WatchEvent, WatchParams,
};
use kube::{Api, Client, ResourceExt as _};
use mainstay_agents_kit::servers::{Readiness, Servers as Choice};
use mainstay_apiserver_server::ApiServer;
use mainstay_base::lifecycle::Tasks;
use mainstay_base::pki::{Ca, Usage};
use mainstay_store::{ClusterConfig, Config, InitialMember, MemoryNetwork, Store};
use serde_json::json;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::plane::{DEADLINE, base64, der, leaf, pair, server};

const NAMES: [&str; 3] = ["a", "b", "c"];

struct Server {
    store: Store,
    tasks: Tasks,
    url: String,
    api: ApiServer,
}

struct Three {
    servers: Vec<Server>,
    network: MemoryNetwork,
    ca: Ca,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Three {
    async fn start() -> Self {
        drop(rustls::crypto::ring::default_provider().install_default()); // another test of this program may have done it
        let dir = tempfile::tempdir().unwrap();
        let network = MemoryNetwork::new();
        let ca = Ca::generate("it", OffsetDateTime::now_utc(), Duration::from_secs(3600)).unwrap();
        let key = mainstay_base::pki::generate_key_pem().unwrap().into_bytes();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let opened = NAMES.map(|name| open(&network, name, dir.path().join(name)));
        let stores = futures::future::join_all(opened).await;
        let starts = stores.into_iter().zip(1..=3).map(|(store, number)| {
            let (ca, key) = (ca.clone(), key.clone());
            async move {
                store.ready().await.unwrap();
                let (_keep, serving) =
                    watch::channel(pair(&leaf(&ca, "kube-apiserver", None, Usage::Server)));
                let mut config = server(&ca, serving);
                config.bind = (IpAddr::from([127, 0, 0, number]), port).into();
                config.advertise = IpAddr::from([192, 0, 2, number]);
                config.service_account.signing_key_pem = key;
                let tasks = Tasks::new("apiserver", CancellationToken::new());
                let api =
                    mainstay_apiserver_server::start(config, store.clone(), tasks.clone()).await.unwrap();
                Server { store, tasks, url: format!("https://127.0.0.{number}:{port}"), api }
            }
        });
        // All at once: each seeds the same objects.
        let servers = futures::future::join_all(starts).await;
        Self { servers, network, ca, port, _dir: dir }
    }

    fn config(&self, url: &str) -> kube::Config {
        let admin = leaf(&self.ca, "admin", Some("system:masters"), Usage::Client);
        let mut config = kube::Config::new(url.parse().unwrap());
        config.root_cert = Some(vec![der(self.ca.certificate_pem())]);
        config.auth_info.client_certificate_data = Some(base64(&admin.certificate_pem));
        config.auth_info.client_key_data = Some(base64(&admin.key_pem).into());
        config
    }

    fn client(&self, at: usize) -> Client {
        Client::try_from(self.config(&self.servers[at].url)).unwrap()
    }

    fn maps(&self, at: usize) -> Api<ConfigMap> {
        Api::default_namespaced(self.client(at))
    }

    async fn listed(&self, at: usize) -> BTreeSet<String> {
        let slice =
            Api::<EndpointSlice>::default_namespaced(self.client(at)).get("kubernetes").await.unwrap();
        slice.endpoints.into_iter().flatten().flat_map(|endpoint| endpoint.addresses).collect()
    }

    async fn until_listed(&self, at: usize, count: usize) {
        let wait = async {
            while self.listed(at).await.len() != count {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.expect("the list is as wanted in time");
    }

    async fn stop(&self, at: usize) {
        let server = &self.servers[at];
        server.tasks.close_and_join(Duration::from_secs(10)).await.unwrap();
        server.store.close().await.unwrap();
    }
}

async fn open(network: &MemoryNetwork, name: &str, dir: std::path::PathBuf) -> Store {
    let url = |name: &str| format!("http://{name}:1");
    let initial = NAMES.map(|name| InitialMember { name: name.to_owned(), peer_urls: vec![url(name)] });
    let mut cluster = ClusterConfig::new(name, initial, Arc::new(network.transport(name, [url(name)])));
    cluster.election_timeout = Duration::from_millis(500);
    let config = Config { dir, cluster: Some(cluster), sync: false, ..Config::default() };
    Store::open(config).await.unwrap()
}

fn map(name: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        ..ConfigMap::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_server_acknowledged_every_other_one_shows_at_once_and_watches_move_between_them() {
    let all = Three::start().await;
    all.until_listed(0, 3).await;
    let maps: Vec<_> = (0..3).map(|at| all.maps(at)).collect();
    let begin =
        maps[0].list(&kube::api::ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let mut versions = Vec::new();
    for number in 0..30 {
        let name = format!("m{number:02}");
        let written = maps[number % 3].create(&PostParams::default(), &map(&name)).await.unwrap();
        versions.push(written.resource_version().unwrap());
        for other in &maps {
            assert!(other.get_opt(&name).await.unwrap().is_some(), "{name} is seen everywhere");
        }
    }
    // A watch begins at one server, and goes on at the others in the middle.
    let mut seen = Vec::new();
    let mut version = begin;
    for api in [&maps[2], &maps[0], &maps[1]] {
        let events = api.watch(&WatchParams::default().timeout(20), &version).await.unwrap();
        let part: Vec<ConfigMap> = events
            .try_filter_map(|event| async move {
                Ok(match event {
                    WatchEvent::Added(object) => Some(object),
                    _ => None,
                })
            })
            .take_ten()
            .await;
        version = part.last().unwrap().resource_version().unwrap();
        seen.extend(part.into_iter().map(|object| object.resource_version().unwrap()));
    }
    assert_eq!(seen, versions, "nothing is missed, nothing seen twice");

    // One cluster address for each Service, whichever server it is made by.
    let services = (0..3).map(|at| {
        let api = Api::<Service>::default_namespaced(all.client(at));
        async move {
            let mut given = Vec::new();
            for number in 0..5 {
                let object = json!({"metadata": {"name": format!("s{at}{number}")}, "spec": {"ports": [{"port": 80}]}});
                let object = serde_json::from_value(object).unwrap();
                let made = api.create(&PostParams::default(), &object).await.unwrap();
                given.push(made.spec.unwrap().cluster_ip.unwrap());
            }
            given
        }
    });
    let given: Vec<String> = futures::future::join_all(services).await.into_iter().flatten().collect();
    assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), 15, "{given:?}");
    for at in 0..3 {
        all.stop(at).await;
    }
}

/// Writes begin with what a server's cache has, which may be behind what another server has just acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_through_one_server_knows_what_another_one_has_just_acknowledged() {
    let all = Three::start().await;
    let maps: Vec<_> = (0..3).map(|at| all.maps(at)).collect();
    let value = |round: usize| Some([("round".to_owned(), round.to_string())].into());
    let conflicts = |answer: Result<ConfigMap, kube::Error>, what: &str| match answer {
        Err(kube::Error::Api(status)) => assert_eq!(status.code, 409, "{what}: {status:?}"),
        other => panic!("{what}: {other:?}"),
    };
    for round in 0..60 {
        let [one, other, third] = [0, 1, 2].map(|step| &maps[(round + step) % 3]);
        let (create, patch) = (PostParams::default(), PatchParams::default());
        let made = one.create(&create, &ConfigMap { data: value(round), ..map("m") }).await.unwrap();
        // Its version is known elsewhere, and only its newest one.
        let replaced =
            other.replace("m", &create, &ConfigMap { data: value(1000), ..made.clone() }).await.unwrap();
        conflicts(third.replace("m", &create, &made).await, "an old version");
        // What changes nothing answers with the newest state, not with that of the cache.
        let patched = one.patch("m", &patch, &Patch::Merge(json!({"data": {"more": "1"}}))).await.unwrap();
        let same = other.patch("m", &patch, &Patch::Merge(json!({"data": {"more": "1"}}))).await.unwrap();
        assert_eq!(same.metadata.resource_version, patched.metadata.resource_version);
        assert_ne!(replaced.metadata.resource_version, patched.metadata.resource_version);
        // A patch that only the newest state passes.
        let newest = one.patch("m", &patch, &Patch::Merge(json!({"data": {"more": "2"}}))).await.unwrap();
        let only_then = json!({"metadata": {"resourceVersion": newest.metadata.resource_version}, "data": {"more": null}});
        let last = third.patch("m", &patch, &Patch::Merge(only_then)).await.unwrap();
        let only = |version: Option<String>| DeleteParams {
            preconditions: Some(Preconditions { resource_version: version, uid: None }),
            ..DeleteParams::default()
        };
        let refused = one.delete("m", &only(made.metadata.resource_version)).await;
        assert!(matches!(&refused, Err(kube::Error::Api(status)) if status.code == 409), "{refused:?}");
        other.delete("m", &only(last.metadata.resource_version)).await.unwrap();
        let gone = third.patch("m", &patch, &Patch::Merge(json!({"data": {}}))).await;
        assert!(matches!(&gone, Err(kube::Error::Api(status)) if status.code == 404), "{gone:?}");
    }
    for at in 0..3 {
        all.stop(at).await;
    }
}

/// The first ten of a stream.
trait TakeTen {
    async fn take_ten(self) -> Vec<ConfigMap>;
}

impl<S: futures::Stream<Item = Result<ConfigMap, kube::Error>>> TakeTen for S {
    async fn take_ten(self) -> Vec<ConfigMap> {
        use futures::StreamExt as _;
        self.take(10).try_collect().await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_leaves_a_server_without_the_others_for_as_long_and_a_minority_refuses() {
    let all = Three::start().await;
    all.until_listed(0, 3).await;
    let own = (1..=3).map(|number| format!("127.0.0.{number}:{}", all.port).parse().unwrap()).collect();
    let api = all.servers[0].api.clone();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let readiness: Readiness = Arc::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let api = api.clone();
        Box::pin(async move { api.is_ready().await })
    });
    let elsewhere = Choice::new(own).unwrap();
    let choice = Choice::new(elsewhere.news().borrow().clone()).unwrap().at_home(readiness);
    let tasks = Tasks::new("client", CancellationToken::new());
    let config = all.config("https://127.0.0.1"); // every certificate of this test has that address
    choice.watch_over_known(&watch::channel(config.clone()).1, &tasks);
    elsewhere.watch_over_known(&watch::channel(config.clone()).1, &tasks);
    let api = Api::<ConfigMap>::default_namespaced(choice.client(&config).unwrap());
    api.create(&PostParams::default(), &map("before")).await.unwrap();
    let at_home = async {
        while asked.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, at_home).await.expect("it asks the server of its process");
    all.network.isolate("a");
    let cut = tokio::time::Instant::now();
    let moved = async {
        loop {
            let (params, wanted) = (PostParams::default(), map("after"));
            let write = api.create(&params, &wanted);
            if let Ok(Ok(_)) = tokio::time::timeout(Duration::from_secs(2), write).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, moved).await.expect("it moves");
    println!("writes go on after {} ms", cut.elapsed().as_millis());
    let left = async {
        while elsewhere.server_in_use() == format!("127.0.0.1:{}", all.port).parse().unwrap() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, left).await.expect("who listens from another process moves too");
    println!("who listens has moved after {} ms", cut.elapsed().as_millis());
    // This client does not try again by itself, as kube's own does for minutes.
    let alone = Choice::new(vec![format!("127.0.0.1:{}", all.port).parse().unwrap()]).unwrap();
    let alone = Api::<ConfigMap>::default_namespaced(alone.client(&config).unwrap());
    let refused = alone.get_opt("before").await;
    assert!(matches!(&refused, Err(kube::Error::Api(status)) if status.code == 503), "{refused:?}");
    all.servers[0].api.registry().allow_stale_reads(true);
    assert!(alone.get_opt("before").await.unwrap().is_some(), "what is here may be read");
    let request = http::Request::get("/api/v1/namespaces/default/configmaps").body(Vec::<u8>::new()).unwrap();
    let answer = alone.into_client().send(request.map(Into::into)).await.unwrap();
    let warning = answer.headers()[http::header::WARNING].to_str().unwrap().to_owned();
    assert!(warning.contains("this is as of 20") && warning.contains("may be stale"), "{warning}");
    all.network.heal();
    let back = async {
        while choice.server_in_use() != format!("127.0.0.1:{}", all.port).parse().unwrap() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(DEADLINE, back).await.expect("it comes home");
    tasks.close_and_join(Duration::from_secs(5)).await.unwrap();
    for at in 0..3 {
        all.stop(at).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_is_taken_from_the_list() {
    let all = Three::start().await;
    all.until_listed(1, 3).await;
    all.stop(0).await;
    all.until_listed(1, 2).await;
    assert!(!all.listed(1).await.contains("192.0.2.1"));
    for at in 1..3 {
        all.stop(at).await;
    }
}
