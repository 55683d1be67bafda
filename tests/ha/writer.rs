//! A client that writes without pause, from a machine, through one server after the other, and remembers what was acknowledged.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::os::fd::AsFd as _;

use crate::machine::Machine;

/// A write waits no longer before the next server is asked.
const WRITE_MAX: Duration = Duration::from_millis(400);

/// What was acknowledged, and when.
pub(crate) struct Written {
    pub(crate) names: Vec<String>,
    pub(crate) at: Vec<Instant>,
}

impl Written {
    /// The longest time without an acknowledged write that contains `moment`, counted from it.
    pub(crate) fn pause_after(&self, moment: Instant) -> Duration {
        let next = self.at.iter().find(|at| **at > moment).expect("writes went on");
        *next - moment
    }
}

/// A writer in its own thread, in the network of a machine.
pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Written>,
}

impl Writer {
    /// Starts on `from`, with the administrator's kubeconfig of each of `servers`.
    /// What it writes has names that begin with `prefix`.
    pub(crate) fn start(prefix: &'static str, from: &Machine, servers: &[&Machine]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let namespace = from.namespace();
        let servers: Vec<(PathBuf, String)> =
            servers.iter().map(|server| (server.kubeconfig(), server.url())).collect();
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || write(prefix, &namespace, &servers, &stopped));
        Self { stop, thread }
    }

    pub(crate) fn end(self) -> Written {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

fn write(
    prefix: &str,
    namespace: &std::path::Path,
    servers: &[(PathBuf, String)],
    stop: &AtomicBool,
) -> Written {
    let file = File::open(namespace).unwrap();
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    drop(rustls::crypto::ring::default_provider().install_default()); // another test of this program may have done it
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio.block_on(async {
        let mut apis = Vec::new();
        for (kubeconfig, url) in servers {
            let mut parsed = Kubeconfig::read_from(kubeconfig).unwrap();
            for cluster in &mut parsed.clusters {
                cluster.cluster.as_mut().unwrap().server = Some(url.clone());
            }
            let config =
                kube::Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default()).await.unwrap();
            apis.push(Api::<ConfigMap>::default_namespaced(kube::Client::try_from(config).unwrap()));
        }
        let mut written = Written { names: Vec::new(), at: Vec::new() };
        let (mut number, mut server) = (0, 0);
        while !stop.load(Ordering::SeqCst) {
            let name = format!("{prefix}-{number}");
            number += 1;
            let map = ConfigMap {
                metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
                ..ConfigMap::default()
            };
            let params = PostParams::default();
            if let Ok(Ok(_)) = tokio::time::timeout(WRITE_MAX, apis[server].create(&params, &map)).await {
                written.names.push(name);
                written.at.push(Instant::now());
            } else {
                server = (server + 1) % apis.len();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        written
    })
}
