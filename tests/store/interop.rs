//! Data moves between our store and a real etcd, both ways, and nothing is lost on the way.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::cluster::{Cluster, Kind, Version, until};
use crate::{BINARY, text};

fn etcdctl(cluster: &Cluster, arguments: &[&str]) -> String {
    let mut command = Version::V3_5.command();
    let output =
        command.arg(format!("--endpoints={}", cluster.endpoints())).args(arguments).output().unwrap();
    assert!(output.status.success(), "etcdctl {arguments:?}: {}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn mainstay(arguments: &[&str]) -> String {
    let output = Command::new(BINARY).args(arguments).output().unwrap();
    assert!(output.status.success(), "mainstay {arguments:?}: {}", text(&output));
    text(&output)
}

/// Overwrites, deletes, a lease, a compaction, users.
fn fill(cluster: &Cluster) {
    for number in 0..60 {
        let value = format!("v{number}").repeat(number);
        etcdctl(cluster, &["put", &format!("k{}", number % 20), &value]);
    }
    etcdctl(cluster, &["del", "k3"]);
    let granted = etcdctl(cluster, &["lease", "grant", "5000"]);
    etcdctl(cluster, &["put", "leased", "x", &format!("--lease={}", granted.split(' ').nth(1).unwrap())]);
    etcdctl(cluster, &["compaction", "30"]);
    for line in [
        "user add root:toor",
        "role add root",
        "user grant-role root root",
        "role add r",
        "role grant-permission r readwrite k1 k5",
        "user add alice:wonder",
        "user grant-role alice r",
    ] {
        etcdctl(cluster, &line.split(' ').collect::<Vec<_>>());
    }
}

/// All that can be asked about the data: every key with its revisions, history, leases, users and roles.
fn held(cluster: &Cluster) -> Vec<String> {
    let mut held = Vec::new();
    for revision in ["0", "31", "45", "60"] {
        let all = etcdctl(cluster, &["get", "--prefix", "", &format!("--rev={revision}"), "-w", "json"]);
        let all: serde_json::Value = serde_json::from_str(&all).unwrap();
        held.push(format!("{} {}", all["header"]["revision"], all["kvs"]));
    }
    let leases = etcdctl(cluster, &["lease", "list"]);
    let lease = leases.lines().nth(1).unwrap().to_owned();
    let keys = etcdctl(cluster, &["lease", "timetolive", "--keys", &lease]);
    held.push(format!("{leases} {}", keys.split("attached").nth(1).unwrap()));
    for line in ["user list", "user get alice", "role list", "role get r"] {
        held.push(etcdctl(cluster, &line.split(' ').collect::<Vec<_>>()));
    }
    held
}

fn path(dir: &Path) -> &str {
    dir.to_str().unwrap()
}

#[test]
fn a_real_etcd_restores_our_snapshot_and_serves_the_same() {
    let ours = Cluster::start(Kind::Ours, 1);
    fill(&ours);
    let wanted = held(&ours);
    let dir = tempfile::tempdir().unwrap();
    // Saved by etcdctl, and by our own command.
    let saved = dir.path().join("etcdctl.db");
    etcdctl(&ours, &["snapshot", "save", path(&saved)]);
    let own = dir.path().join("own.db");
    mainstay(&["snapshot", "save", path(&own), "--etcd-format", "--endpoints", &ours.urls[0]]);
    for (number, file) in [saved, own].iter().enumerate() {
        let data = dir.path().join(format!("restored{number}"));
        let mut command = Version::V3_5.command();
        command.args(["snapshot", "restore", path(file), "--data-dir", path(&data)]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        let etcd = Cluster::open(Kind::Etcd, &data, "default");
        assert_eq!(held(&etcd), wanted);
        etcdctl(&etcd, &["auth", "enable"]);
        let line = ["--user=alice:wonder", "get", "k1", "--print-value-only"];
        assert_eq!(etcdctl(&etcd, &line), format!("{}\n", "v41".repeat(41)), "passwords came along");
        // It goes on from there.
        etcdctl(&etcd, &["--user=root:toor", "put", "more", "v"]);
    }
}

#[test]
fn migrate_takes_a_snapshot_a_database_and_a_running_etcd() {
    let mut etcd = Cluster::start(Kind::Etcd, 1);
    fill(&etcd);
    let wanted = held(&etcd);
    let dir = tempfile::tempdir().unwrap();
    let snapshot = dir.path().join("snapshot.db");
    etcdctl(&etcd, &["snapshot", "save", path(&snapshot)]);
    let live = dir.path().join("live");
    mainstay(&["store", "migrate", "--from-etcd", &etcd.urls[0], "--data-dir", path(&live)]);
    let saved = dir.path().join("saved");
    mainstay(&["store", "migrate", "--from-etcd", path(&snapshot), "--data-dir", path(&saved)]);
    let ours = dir.path().join("ours.db");
    mainstay(&["snapshot", "save", path(&ours), "--etcd-format", "--endpoints", &etcd.urls[0]]);
    let database = etcd.dir.path().join("m0/member/snap/db");
    let copied = dir.path().join("db");
    etcd.kill();
    std::fs::copy(database, &copied).unwrap();
    let refused = Command::new(BINARY)
        .args(["store", "migrate", "--from-etcd", path(&copied), "--data-dir"])
        .arg(dir.path().join("refused"))
        .output()
        .unwrap();
    assert!(!refused.status.success(), "a database without checksum needs --skip-hash-check");
    let plain = dir.path().join("plain");
    mainstay(&[
        "store",
        "migrate",
        "--skip-hash-check",
        "--from-etcd",
        path(&copied),
        "--data-dir",
        path(&plain),
    ]);
    for data in [live, saved, plain] {
        let ours = Cluster::open(Kind::Ours, &data, "default");
        assert_eq!(held(&ours), wanted, "{}", data.display());
        etcdctl(&ours, &["auth", "enable"]);
        etcdctl(&ours, &["--user=alice:wonder", "put", "k1", "again"]);
    }
}

#[test]
fn etcdctl_mirrors_our_store_to_etcd_and_back() {
    let [etcd, ours] = [Kind::Etcd, Kind::Ours].map(|kind| Cluster::start(kind, 1));
    for (from, to, prefix) in [(&ours, &etcd, "a/"), (&etcd, &ours, "b/")] {
        etcdctl(from, &["put", &format!("{prefix}before"), "1"]);
        let mut mirror = Version::V3_5
            .endless()
            .args([&format!("--endpoints={}", from.endpoints()), "make-mirror", "--prefix", prefix])
            .arg(to.urls[0].trim_start_matches("http://"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let arrives = |key: &str, value: &str| {
            until(&format!("{key} is {value:?}"), || {
                etcdctl(to, &["get", key, "--print-value-only"]).trim_end() == value
            });
        };
        arrives(&format!("{prefix}before"), "1");
        etcdctl(from, &["put", &format!("{prefix}after"), "2"]);
        arrives(&format!("{prefix}after"), "2");
        etcdctl(from, &["del", &format!("{prefix}after")]);
        arrives(&format!("{prefix}after"), "");
        mirror.kill().unwrap();
        mirror.wait().unwrap();
    }
}

#[test]
fn etcdctls_check_perf_passes() {
    let ours = Cluster::start(Kind::Ours, 1);
    // It takes a minute, whatever the load.
    let said = etcdctl(&ours, &["check", "perf", "--load=s"]);
    assert!(said.contains("PASS: Throughput is"), "{said}");
}

#[test]
fn a_restored_cluster_of_three_is_formed_with_etcdutls_flags() {
    let ours = Cluster::start(Kind::Ours, 1);
    fill(&ours);
    let wanted = held(&ours);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("snapshot");
    mainstay(&["snapshot", "save", path(&file), "--endpoints", &ours.urls[0]]);
    drop(ours);
    let restored = Cluster::restored(&file, 3, &["--bump-revision=1000", "--mark-compacted"]);
    let header = etcdctl(&restored, &["get", "k1", "-w", "json"]);
    let header: serde_json::Value = serde_json::from_str(&header).unwrap();
    let before: u64 = wanted[0].split(' ').next().unwrap().parse().unwrap();
    assert_eq!(header["header"]["revision"], before + 1000);
    assert_eq!(etcdctl(&restored, &["member", "list"]).lines().count(), 3);
    let output = Version::V3_5
        .command()
        .args([&format!("--endpoints={}", restored.endpoints()), "get", "k1", &format!("--rev={before}")])
        .output()
        .unwrap();
    assert!(text(&output).contains("required revision has been compacted"), "{}", text(&output));
    etcdctl(&restored, &["put", "k1", "after"]);
    for url in &restored.urls {
        let output = Version::V3_4
            .command()
            .args([&format!("--endpoints={url}"), "get", "k1", "--print-value-only"])
            .output()
            .unwrap();
        assert_eq!(text(&output), "after\n");
    }
}
