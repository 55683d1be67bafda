//! The real etcdctl on users, roles, locks, elections and snapshots. Needs Debian's `etcd-client`.
use std::time::Duration;

use mainstay_store::{LeaseId, RestoreOptions, SnapshotFormat, Store, restore_file, snapshot_status};

use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::etcdctl::{etcdctl, run};
use crate::rig::{Rig, SOON};

async fn words(rig: &Rig, line: &str) -> String {
    run(rig, &line.split(' ').collect::<Vec<_>>(), "").await
}

#[tokio::test]
async fn etcdctl_manages_users_and_roles() {
    let rig = Rig::start().await;
    for (line, wanted) in [
        ("user add root:toor", "User root created\n"),
        ("role add root", "Role root created\n"),
        ("user grant-role root root", "Role root is granted to user root\n"),
        ("user add alice:pw", "User alice created\n"),
        ("role add writer", "Role writer created\n"),
        ("role grant-permission writer readwrite --prefix a/", "Role writer updated\n"),
        (
            "role get writer",
            "Role writer\nKV Read:\n\t[a/, a0) (prefix a/)\nKV Write:\n\t[a/, a0) (prefix a/)\n",
        ),
        ("user grant-role alice writer", "Role writer is granted to user alice\n"),
        ("user get alice", "User: alice\nRoles: writer\n"),
        ("auth enable", "Authentication Enabled\n"),
        ("--user=alice:pw put a/1 x", "OK\n"),
        ("--user=alice:pw get a/1", "a/1\nx\n"),
        ("--user=root:toor user list", "alice\nroot\n"),
        ("--user=root:toor role list", "root\nwriter\n"),
        (
            "--user=root:toor role revoke-permission writer --prefix a/",
            "Permission of range [a/, a0) is revoked from role writer\n",
        ),
        ("--user=root:toor user revoke-role alice writer", "Role writer is revoked from user alice\n"),
        ("--user=root:toor role delete writer", "Role writer deleted\n"),
        ("--user=root:toor user delete alice", "User alice deleted\n"),
    ] {
        assert_eq!(words(&rig, line).await, wanted, "etcdctl {line}");
    }
    for (line, wanted) in [
        ("put a/1 x", "etcdserver: user name is empty"),
        ("--user=alice:pw put a/1 x", "authentication failed, invalid user ID or password"),
        ("--user=root:wrong put a/1 x", "authentication failed, invalid user ID or password"),
    ] {
        let found = words(&rig, line).await;
        assert!(found.contains(wanted), "etcdctl {line}: {found}");
    }
    assert_eq!(words(&rig, "--user=root:toor auth disable").await, "Authentication Disabled\n");
    rig.stop().await;
}

#[tokio::test]
async fn etcdctl_locks_and_elects() {
    let rig = Rig::start().await;
    // With a command, etcdctl holds the lock while it runs.
    assert_eq!(words(&rig, "lock l echo held").await, "held\n");
    rig.store.lease_grant(Duration::from_secs(600), Some(LeaseId(7))).await.unwrap();
    rig.store.put_with(mainstay_store::PutRequest::new("e/7", "me").with_lease(LeaseId(7))).await.unwrap();
    let mut child = etcdctl(&rig, &["elect", "--listen", "e"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = async || tokio::time::timeout(SOON, lines.next_line()).await.unwrap().unwrap().unwrap();
    assert_eq!([next().await, next().await], ["e/7", "me"]);
    child.kill().await.unwrap();
    rig.stop().await;
}

#[tokio::test]
async fn etcdctl_saves_a_snapshot_that_it_and_we_understand() {
    let rig = Rig::start().await;
    for number in 0..300 {
        rig.put(&format!("k{}", number % 70), &"v".repeat(number)).await;
    }
    rig.store.delete("k3").await.unwrap();
    rig.store.compact(mainstay_store::Revision(200)).await.unwrap();
    rig.store.lease_grant(Duration::from_secs(600), Some(LeaseId(7))).await.unwrap();
    rig.store.put_with(mainstay_store::PutRequest::new("leased", "1").with_lease(LeaseId(7))).await.unwrap();
    rig.store.auth().user_add_hashed("alice", b"hash".to_vec()).await.unwrap();
    let all = rig.store.range(mainstay_store::RangeRequest::all()).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("etcd.db");
    let name = file.to_str().unwrap();
    let saved = run(&rig, &["snapshot", "save", name], "").await;
    assert!(saved.contains(&format!("Snapshot saved at {name}")), "{saved}");
    let told = run(&rig, &["snapshot", "status", name, "-w", "json"], "").await;
    let told: serde_json::Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
    let own = snapshot_status(&mut std::fs::File::open(&file).unwrap()).unwrap();
    assert_eq!(own.format, SnapshotFormat::Etcd);
    assert_eq!(
        (told["hash"].as_u64(), told["revision"].as_i64(), told["totalKey"].as_u64()),
        (Some(own.hash.into()), Some(own.revision.0), Some(own.keys))
    );
    assert_eq!(own.revision, rig.store.revision());

    let new = dir.path().join("new");
    let told =
        restore_file(&mut std::fs::File::open(&file).unwrap(), &new, &RestoreOptions::default()).unwrap();
    assert_eq!((told.revision, told.floor.0, told.keys), (all.revision, 200, all.count));
    let config = mainstay_store::Config { dir: new, disk_reserve_bytes: 0, ..Default::default() };
    let store = Store::open(config).await.unwrap();
    assert_eq!(store.range(mainstay_store::RangeRequest::all()).await.unwrap(), all);
    assert_eq!(store.lease_time_to_live(LeaseId(7), true).await.unwrap().keys, ["leased"]);
    assert_eq!(store.auth().users().await.unwrap(), ["alice"]);
    store.close().await.unwrap();
    rig.stop().await;
}
