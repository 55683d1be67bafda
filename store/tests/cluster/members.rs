//! Members of a cluster in one process and one network, which come and go as a test wants.
use std::sync::Arc;
use std::time::Duration;

use mainstay_store::{ClusterConfig, Config, InitialMember, MemoryNetwork, OpenError, Store, Transport};
use tokio::time::Instant;

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Members `m0`, `m1`, ... in one network.
pub(crate) struct Members {
    pub(crate) network: MemoryNetwork,
    pub(crate) dirs: Vec<tempfile::TempDir>,
    pub(crate) stores: Vec<Option<Store>>,
    /// So many members form the cluster.
    pub(crate) initial: usize,
}

pub(crate) fn url(member: usize) -> String {
    format!("http://m{member}:2380")
}

pub(crate) fn initial(members: usize) -> Vec<InitialMember> {
    (0..members)
        .map(|member| InitialMember { name: format!("m{member}"), peer_urls: vec![url(member)] })
        .collect()
}

impl Members {
    /// A cluster of so many, ready.
    pub(crate) async fn start(count: usize) -> Self {
        let dirs = (0..count).map(|_| tempfile::tempdir().unwrap()).collect();
        let mut members =
            Self { network: MemoryNetwork::new(), dirs, stores: vec![None; count], initial: count };
        for member in 0..count {
            members.open(member).await;
        }
        for member in 0..count {
            in_time(members.store(member).ready()).await.unwrap();
        }
        members
    }

    pub(crate) fn config(&self, member: usize) -> Config {
        self.config_at(member, self.network.transport(format!("m{member}"), [url(member)]))
    }

    pub(crate) fn config_at(&self, member: usize, transport: impl Transport + 'static) -> Config {
        let mut cluster =
            ClusterConfig::new(format!("m{member}"), initial(self.initial), Arc::new(transport));
        cluster.client_urls = vec![format!("http://m{member}:2379")];
        cluster.snapshot_entries = 20;
        Config {
            dir: self.dirs[member].path().to_path_buf(),
            cluster: Some(cluster),
            disk_reserve_bytes: 0,
            write_buffer_bytes: 1 << 20,
            log_segment_bytes: 4 << 20,
            // What is tested here is not the disk.
            sync: false,
            ..Config::default()
        }
    }

    pub(crate) async fn open(&mut self, member: usize) {
        let store = Store::open(self.config(member)).await.unwrap();
        self.stores[member] = Some(store);
    }

    pub(crate) fn store(&self, member: usize) -> &Store {
        self.stores[member].as_ref().unwrap()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Store> {
        self.stores.iter().flatten()
    }

    /// The member that leads, once one does.
    pub(crate) async fn leader(&self) -> usize {
        in_time(async {
            loop {
                let leads = |store: &Option<Store>| {
                    store.as_ref().is_some_and(|store| store.leadership().borrow().is_leader)
                };
                if let Some(leader) = self.stores.iter().position(leads) {
                    return leader;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }

    pub(crate) async fn a_follower(&self) -> usize {
        let leader = self.leader().await;
        (0..self.stores.len()).find(|member| *member != leader && self.stores[*member].is_some()).unwrap()
    }

    /// Ends a member at once, as if its process had ended.
    pub(crate) fn crash(&mut self, member: usize) {
        drop(self.stores[member].take().unwrap());
    }

    /// Opens a member again once its directory is free.
    pub(crate) async fn reopen(&mut self, member: usize) {
        let store = in_time(async {
            loop {
                match Store::open(self.config(member)).await {
                    Ok(store) => return store,
                    Err(OpenError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
                    Err(other) => panic!("{other}"),
                }
            }
        })
        .await;
        self.stores[member] = Some(store);
    }

    pub(crate) async fn close(mut self) {
        for store in self.stores.iter_mut().filter_map(Option::take) {
            store.close().await.unwrap();
        }
    }
}

pub(crate) async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.expect("it takes too long")
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < DEADLINE, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
