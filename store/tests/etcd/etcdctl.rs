//! The real etcdctl against a running server. Needs Debian's `etcd-client`.
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use crate::rig::{Rig, SOON};

pub(crate) fn etcdctl(rig: &Rig, arguments: &[&str]) -> Command {
    let mut command = Command::new("etcdctl");
    command
        .env("ETCDCTL_API", "3")
        .arg(format!("--endpoints=127.0.0.1:{}", rig.port))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// What etcdctl printed, with its errors after it.
pub(crate) async fn run(rig: &Rig, arguments: &[&str], input: &str) -> String {
    let spawned = etcdctl(rig, arguments).spawn();
    let mut child = spawned.expect("this test needs etcdctl: apt-get install etcd-client");
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = tokio::time::timeout(SOON, child.wait_with_output()).await.unwrap().unwrap();
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

async fn check(rig: &Rig, cases: &[(&str, &str)]) {
    for (arguments, wanted) in cases {
        let words: Vec<&str> = arguments.split(' ').collect();
        assert_eq!(run(rig, &words, "").await, *wanted, "etcdctl {arguments}");
    }
}

#[tokio::test]
async fn etcdctl_reads_and_writes_keys() {
    let rig = Rig::start().await;
    let cases = [
        ("put a 1", "OK\n"),
        ("put b 2", "OK\n"),
        ("put c 3", "OK\n"),
        ("put --prev-kv a 11", "OK\na\n1\n"),
        ("put --ignore-value a", "OK\n"),
        ("get a", "a\n11\n"),
        ("get --prefix --keys-only ''", ""),
        ("get a z", "a\n11\nb\n2\nc\n3\n"),
        ("get a z --limit=1", "a\n11\n"),
        ("get a z --sort-by=MODIFY --order=DESCEND --keys-only", "a\n\nc\n\nb\n\n"),
        ("get a z --sort-by=VALUE --order=ASCEND --print-value-only", "11\n2\n3\n"),
        ("get --from-key b --print-value-only", "2\n3\n"),
        ("get a --rev=2", "a\n1\n"),
        ("get a --consistency=s", "a\n11\n"),
        ("del b --prev-kv", "1\nb\n2\n"),
        ("del --prefix c", "1\n"),
        ("get a --rev=99", ""),
        ("compaction 5", "compacted revision 5\n"),
    ];
    for (arguments, wanted) in cases {
        let words: Vec<&str> = arguments.split(' ').collect();
        let found = run(&rig, &words, "").await;
        if arguments.ends_with("--rev=99") {
            assert!(found.contains("etcdserver: mvcc: required revision is a future revision"), "{found}");
        } else {
            assert_eq!(found, wanted, "etcdctl {arguments}");
        }
    }
    let txn = "value(\"a\") = \"11\"\n\nput a 12\nget a\n\nput a other\n\n";
    assert_eq!(run(&rig, &["txn"], txn).await, "SUCCESS\n\nOK\n\na\n12\n");
    rig.stop().await;
}

#[tokio::test]
async fn etcdctl_watches() {
    let rig = Rig::start().await;
    run(&rig, &["put", "k", "1"], "").await;
    let mut child = etcdctl(&rig, &["watch", "--prefix", "k", "--rev=2", "--prev-kv"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = async || tokio::time::timeout(SOON, lines.next_line()).await.unwrap().unwrap().unwrap();
    assert_eq!([next().await, next().await, next().await], ["PUT", "k", "1"]);
    run(&rig, &["put", "k", "2"], "").await;
    assert_eq!([next().await, next().await, next().await], ["PUT", "k", "1"]);
    assert_eq!([next().await, next().await], ["k", "2"]);
    run(&rig, &["del", "k"], "").await;
    assert_eq!([next().await, next().await, next().await], ["DELETE", "k", "2"]);
    child.kill().await.unwrap();
    rig.stop().await;
}

#[tokio::test]
async fn etcdctl_holds_leases() {
    let rig = Rig::start().await;
    let granted = run(&rig, &["lease", "grant", "100"], "").await;
    let id = granted.split(' ').nth(1).unwrap().to_owned();
    assert_eq!(granted, format!("lease {id} granted with TTL(100s)\n"));
    run(&rig, &["put", &format!("--lease={id}"), "k", "v"], "").await;
    let left = run(&rig, &["lease", "timetolive", "--keys", &id], "").await;
    assert!(left.starts_with(&format!("lease {id} granted with TTL(100s), remaining(")), "{left}");
    assert!(left.ends_with("attached keys([k])\n"), "{left}");
    assert_eq!(run(&rig, &["lease", "list"], "").await, format!("found 1 leases\n{id}\n"));
    let kept = run(&rig, &["lease", "keep-alive", "--once", &id], "").await;
    assert_eq!(kept, format!("lease {id} keepalived with TTL(100)\n"));
    assert_eq!(run(&rig, &["lease", "revoke", &id], "").await, format!("lease {id} revoked\n"));
    assert_eq!(run(&rig, &["get", "k"], "").await, "");
    let gone = run(&rig, &["lease", "timetolive", &id], "").await;
    assert_eq!(gone, format!("lease {id} already expired\n"));
    rig.stop().await;
}

#[tokio::test]
async fn etcdctl_sees_a_healthy_cluster() {
    let rig = Rig::start().await;
    let health = run(&rig, &["endpoint", "health"], "").await;
    assert!(health.contains("is healthy: successfully committed proposal"), "{health}");
    let status = run(&rig, &["endpoint", "status"], "").await;
    assert!(status.contains(", 3.6.") && status.contains(", true, false, "), "{status}");
    let members = run(&rig, &["member", "list"], "").await;
    assert!(
        members.contains(", started, default, http://localhost:2380, http://localhost:2379, false"),
        "{members}"
    );
    check(
        &rig,
        &[
            ("alarm list", ""),
            ("defrag", &format!("Finished defragmenting etcd member[127.0.0.1:{}]\n", rig.port)),
        ],
    )
    .await;
    rig.stop().await;
}
