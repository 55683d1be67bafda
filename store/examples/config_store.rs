//! A configuration store: settings are changed only by who has seen their latest version, and every reader follows the changes.
//!
//! `cargo run -p mainstay-store --example config_store`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use mainstay_store::{
    Compare, Config, EventKind, PutRequest, RangeRequest, Revision, Store, Txn, WatchRequest,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(Config { dir: dir.path().to_path_buf(), ..Config::default() }).await?;

    store.put("config/log-level", "info").await?;
    store.put("config/workers", "4").await?;

    // A reader takes all settings at one revision, and follows from the next one: nothing is missed in between.
    let settings = store.range(RangeRequest::prefix("config/")).await?;
    for kv in &settings.kvs {
        println!("at start: {} = {}", text(&kv.key), text(&kv.value));
    }
    let mut changes =
        store.watch(WatchRequest::prefix("config/").starting_at(settings.revision.next())).await;

    // Two editors have read the same version. The first to write wins, the second is told.
    let seen =
        settings.kvs.iter().find(|kv| kv.key == "config/workers").map_or(Revision(0), |kv| kv.mod_revision);
    println!("first editor changed it: {}", change(&store, "config/workers", "8", seen).await?);
    println!("second editor changed it: {}", change(&store, "config/workers", "2", seen).await?);
    store.delete("config/log-level").await?;

    for _ in 0..2 {
        let batch = changes.next().await?;
        for event in batch.events {
            match event.kind {
                EventKind::Put => println!(
                    "revision {}: {} = {}",
                    batch.revision,
                    text(&event.kv.key),
                    text(&event.kv.value)
                ),
                EventKind::Delete => {
                    println!("revision {}: {} is back to its default", batch.revision, text(&event.kv.key));
                }
            }
        }
    }

    // Yesterday's settings can still be read, until somebody compacts.
    let before = store
        .range(RangeRequest { revision: Some(settings.revision), ..RangeRequest::prefix("config/") })
        .await?;
    println!("{} settings at revision {}", before.count, settings.revision);
    store.compact(store.revision()).await?;
    store.close().await?;
    Ok(())
}

/// Changes a setting if it is still the version that was seen.
async fn change(
    store: &Store,
    key: &'static str,
    value: &'static str,
    seen: Revision,
) -> Result<bool, Box<dyn Error>> {
    let txn = Txn::when([Compare::unchanged(key, seen)]).then([PutRequest::new(key, value)]);
    Ok(store.txn(txn).await?.succeeded)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
