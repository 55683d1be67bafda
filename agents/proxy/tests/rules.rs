//! Rules: what is decided, as text goldens, and that the kernel takes every transaction.
//!
//! The kernel part needs root, `unshare` and `nft`, and works in a network namespace of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use mainstay_agents_proxy::services::{Endpoint, Ruleset, ServicePort, World, delta, render};

fn endpoint(last: u8) -> Endpoint {
    Endpoint { ip: Ipv4Addr::new(10, 42, 0, last), port: 8080 }
}

fn port(name: &str, last: u8, endpoints: &[Endpoint]) -> ServicePort {
    ServicePort {
        name: name.to_owned(),
        protocol: "tcp",
        port: 80,
        cluster_ip: Ipv4Addr::new(10, 43, 0, last),
        external_ips: Vec::new(),
        node_port: None,
        affinity: None,
        internal: endpoints.to_vec(),
        external: endpoints.to_vec(),
        external_local: false,
    }
}

fn ruleset(ports: Vec<ServicePort>) -> Ruleset {
    render(&World { ports }, "10.42.0.0/16".parse().unwrap())
}

/// The worlds that the cluster goes through, one after the other.
fn history() -> Vec<(&'static str, Ruleset)> {
    let plain = port("default/web:http", 20, &[endpoint(5), endpoint(6)]);
    let one_less = ServicePort { internal: vec![endpoint(6)], external: vec![endpoint(6)], ..plain.clone() };
    let empty = ServicePort { internal: Vec::new(), external: Vec::new(), ..plain.clone() };
    let outside = ServicePort {
        node_port: Some(30080),
        external_ips: vec![Ipv4Addr::new(198, 51, 100, 7)],
        affinity: Some(Duration::from_secs(600)),
        ..port("default/shop:", 21, &[endpoint(9)])
    };
    vec![
        ("one Service with two endpoints", ruleset(vec![plain.clone()])),
        ("one endpoint goes", ruleset(vec![one_less.clone()])),
        ("a NodePort Service with session affinity comes", ruleset(vec![one_less, outside.clone()])),
        ("the first Service has no endpoints left", ruleset(vec![empty, outside])),
        ("all is gone", ruleset(Vec::new())),
    ]
}

#[test]
fn transactions_match_the_golden_text() {
    let mut text = String::new();
    let mut before: Option<Ruleset> = None;
    for (title, after) in history() {
        let transaction = match &before {
            None => after.full_load("test"),
            Some(before) => delta("test", before, &after),
        };
        writeln!(text, "# {title}\n{transaction}").unwrap();
        before = Some(after);
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/rules.nft");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn nothing_changed_needs_no_transaction() {
    let (_, rules) = history().remove(2);
    assert_eq!(delta("test", &rules, &rules), "");
}

/// Runs a script in a network namespace of its own, which ends with it.
fn in_own_namespace(script: &str) -> (bool, String) {
    let mut child = Command::new("unshare")
        .args(["--net", "sh", "-es"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this test needs root and the program unshare (Debian package util-linux)");
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn the_kernel_takes_every_transaction_and_ends_where_a_full_load_would() {
    let mut script = String::new();
    let load = |transaction: &str| format!("nft -f - <<'END'\n{transaction}END\n");
    let mut before: Option<Ruleset> = None;
    for (_, after) in history() {
        match &before {
            None => script.push_str(&load(&after.full_load("test"))),
            Some(before) => script.push_str(&load(&delta("test", before, &after))),
        }
        script.push_str(&load(&after.full_load("fresh")));
        script.push_str("nft list table ip test | sed 's/table ip test/table ip fresh/' | sort > $$.a\n");
        script.push_str("nft list table ip fresh | sort > $$.b\ndiff $$.a $$.b\n");
        before = Some(after);
    }
    let dir = tempfile::tempdir().unwrap();
    let script = format!("cd {}\n{script}echo done\n", dir.path().display());
    let (ok, text) = in_own_namespace(&script);
    assert!(ok && text.contains("done"), "needs root and nft (Debian package nftables): {text}");
}
