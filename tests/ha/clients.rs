//! The administrator's clients of each server, used from the network of one machine.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use kube::config::{KubeConfigOptions, Kubeconfig};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::machine::Machine;

/// Where they are, and whom they ask.
pub(crate) struct Clients {
    namespace: PathBuf,
    servers: Vec<(PathBuf, String)>,
}

impl Clients {
    /// On `from`, with each server's own kubeconfig.
    pub(crate) fn new<'m>(from: &Machine, servers: impl IntoIterator<Item = &'m Machine>) -> Self {
        let servers = servers.into_iter().map(|server| (server.kubeconfig(), server.url())).collect();
        Self { namespace: from.namespace(), servers }
    }

    /// Gives the clients to `work`, in this thread, which stays in that network.
    pub(crate) fn run<T>(self, work: impl AsyncFnOnce(Vec<kube::Client>) -> T) -> T {
        let file = File::open(&self.namespace).unwrap();
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        drop(rustls::crypto::ring::default_provider().install_default()); // another test of this program may have done it
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio.block_on(async {
            let mut clients = Vec::new();
            for (kubeconfig, url) in &self.servers {
                clients.push(client(kubeconfig, url).await);
            }
            work(clients).await
        })
    }

    /// The same in a thread of its own, to its end.
    pub(crate) fn ask<T: Send>(self, work: impl AsyncFnOnce(Vec<kube::Client>) -> T + Send) -> T {
        std::thread::scope(|scope| scope.spawn(|| self.run(work)).join().unwrap())
    }
}

async fn client(kubeconfig: &PathBuf, url: &str) -> kube::Client {
    let mut parsed = Kubeconfig::read_from(kubeconfig).unwrap();
    for cluster in &mut parsed.clusters {
        cluster.cluster.as_mut().unwrap().server = Some(url.to_owned());
    }
    let config = kube::Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default()).await.unwrap();
    kube::Client::try_from(config).unwrap()
}
