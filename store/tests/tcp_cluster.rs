//! Members over TCP with mutual TLS: they replicate, strangers stay out, and a renewed certificate is taken up without a restart.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
mod authority;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use authority::Authority;
use mainstay_store::{ClusterConfig, Config, InitialMember, PeerTls, Store, TcpTransport, Transport};

const DEADLINE: Duration = Duration::from_secs(30);

/// Writes (or renews) a member's certificate and key.
fn issue(authority: &Authority, name: &str) -> PeerTls {
    authority.issue(name);
    PeerTls::load(
        authority.file(&format!("{name}.pem")),
        authority.file(&format!("{name}.key")),
        authority.file("ca.pem"),
    )
    .unwrap()
}

async fn listen(tls: PeerTls) -> TcpTransport {
    TcpTransport::bind_tls(&["127.0.0.1:0".parse().unwrap()], tls).await.unwrap()
}

fn config(dir: &Path, name: &str, initial: &[InitialMember], transport: Arc<dyn Transport>) -> Config {
    let mut cluster = ClusterConfig::new(name, initial.to_vec(), transport);
    cluster.heartbeat_interval = Duration::from_millis(50);
    cluster.election_timeout = Duration::from_millis(500);
    Config { dir: dir.to_path_buf(), cluster: Some(cluster), disk_reserve_bytes: 0, ..Config::default() }
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.expect("it takes too long")
}

#[tokio::test]
async fn three_members_replicate_over_tls_and_strangers_stay_out() {
    let authority = Authority::new();
    let mut transports = Vec::new();
    for member in 0..3 {
        transports.push(Arc::new(listen(issue(&authority, &format!("m{member}"))).await));
    }
    let url = |transport: &TcpTransport| format!("https://localhost:{}", transport.addresses()[0].port());
    let initial: Vec<InitialMember> = transports
        .iter()
        .enumerate()
        .map(|(member, transport)| InitialMember {
            name: format!("m{member}"),
            peer_urls: vec![url(transport)],
        })
        .collect();
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut stores = Vec::new();
    for (member, transport) in transports.iter().enumerate() {
        let transport: Arc<dyn Transport> = Arc::clone(transport) as _;
        let config = config(dirs[member].path(), &format!("m{member}"), &initial, transport);
        stores.push(Store::open(config).await.unwrap());
    }
    for (member, store) in stores.iter().enumerate() {
        in_time(store.put(format!("k{member}"), vec![7; 100_000])).await.unwrap();
    }
    for store in &stores {
        assert!(in_time(store.get("k2")).await.unwrap().is_some());
    }

    // One with a certificate of another authority gets no link.
    let stranger = listen(issue(&Authority::new(), "stranger")).await;
    let link = stranger.dial(&initial[0].peer_urls[0]).await;
    let refused = match link {
        Err(_) => true,
        // Under TLS 1.3 the refusal may come with the first answer.
        Ok(mut link) => !matches!(in_time(link.receiver.receive()).await, Ok(Some(_))),
    };
    assert!(refused, "a stranger was let in");

    // A renewed certificate serves new links.
    issue(&authority, "m1");
    let again = listen(issue(&authority, "m9")).await;
    in_time(again.dial(&initial[1].peer_urls[0])).await.unwrap();
    in_time(stores[0].put("k0", "after")).await.unwrap();
    for store in stores {
        in_time(store.close()).await.unwrap();
    }
}
