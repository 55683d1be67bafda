//! A cluster of three members in one process: written on one, read on another, watched on the third; then the leader goes, and the others
//! go on.
//!
//! `cargo run -p mainstay-store --example three_nodes`
#![allow(clippy::print_stdout, reason = "an example talks")]
use std::error::Error;
use std::sync::Arc;

use mainstay_store::{ClusterConfig, Config, InitialMember, MemoryNetwork, Store, WatchRequest};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    // Between machines this would be a `TcpTransport` each.
    let network = MemoryNetwork::new();
    let names = ["anna", "bert", "cleo"];
    let url = |name: &str| format!("http://{name}:2380");
    let initial = names.map(|name| InitialMember { name: name.into(), peer_urls: vec![url(name)] });
    let mut stores = Vec::new();
    for name in names {
        let transport = Arc::new(network.transport(name, [url(name)]));
        let cluster = Some(ClusterConfig::new(name, initial.clone(), transport));
        let config =
            Config { dir: dir.path().join(name), cluster, disk_reserve_bytes: 0, ..Config::default() };
        stores.push(Store::open(config).await?);
    }
    for store in &stores {
        store.ready().await?;
    }

    let mut watch = stores[2].watch(WatchRequest::prefix("greeting")).await;
    let written = stores[0].put("greeting", "hello").await?;
    let read = stores[1].get("greeting").await?.ok_or("a read sees every write before it")?;
    println!("written at revision {}, read {:?} on another member", written.revision, read.value);
    println!("the third saw revision {}", watch.next().await?.revision);

    let leader = stores.iter().position(|store| store.leadership().borrow().is_leader).ok_or("one leads")?;
    println!("{} leads and closes", names[leader]);
    stores.remove(leader).close().await?;
    let after = stores[0].put("greeting", "still here").await?;
    println!("the others go on at revision {}", after.revision);
    for store in stores {
        store.close().await?;
    }
    Ok(())
}
