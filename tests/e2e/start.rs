//! Starting, refusing to start, stopping, and leaving nothing behind.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use rustix::process::Signal;

use crate::cluster::{Cluster, binary};
use crate::command::run;

#[test]
fn a_node_starts_serves_stops_in_order_and_is_quick_the_second_time() {
    let mut cluster = Cluster::start();
    let nodes = cluster.kubectl(&["get", "nodes"]).ok();
    assert!(nodes.contains(" Ready "), "{nodes}");
    let status = cluster.mainstay(&["status"]).ok();
    assert!(status.contains("ready"), "{status}");
    assert_eq!(cluster.end_daemon(Signal::TERM), 0);
    assert_ne!(cluster.mainstay(&["status"]).code, 0);
    cluster.up();
    assert!(cluster.kubectl(&["get", "nodes"]).ok().contains(" Ready "));
    cluster.mainstay(&["down"]).ok();
}

#[test]
fn a_start_that_cannot_work_says_why_in_one_line_with_code_2_and_changes_nothing() {
    let mut cluster = Cluster::prepare();
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let bind = taken.local_addr().unwrap().to_string();
    let refused = |arguments: &[&str], text: &str| {
        let output = run(Command::new(binary()).arg("up").args(arguments), "");
        assert_eq!(output.code, 2, "{output:?}");
        assert!(output.stderr.contains(text), "{output:?}");
        output.stderr
    };
    let dir = cluster.data_dir().join("not-made");
    let data_dir = dir.to_str().unwrap();
    let one_line = |text: String| assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    one_line(refused(&["--data-dir", data_dir, "--bind", &bind], "in use by another program"));
    one_line(refused(&["--data-dir", data_dir, "--cluster-cidr", "10.1.2.3/16"], "host bits"));
    one_line(refused(&["--data-dir", data_dir, "--node-name", "No_Name"], "not a DNS name"));
    refused(&["--no-such-flag"], "--no-such-flag");
    assert!(!dir.exists(), "a refused start made its data directory");

    let foreign = cluster.data_dir().with_file_name("foreign");
    fs::create_dir_all(&foreign).unwrap();
    fs::write(foreign.join("precious"), "x").unwrap();
    one_line(refused(&["--data-dir", foreign.to_str().unwrap(), "--bind", "127.0.0.1:0"], "choose an empty"));

    cluster.up();
    let in_use = run(&mut cluster.up_command(), "");
    assert_eq!(in_use.code, 2, "{in_use:?}");
    assert!(in_use.stderr.contains("in use by mainstay process"), "{in_use:?}");
}

#[test]
fn two_clusters_run_side_by_side_and_down_leaves_nothing() {
    let (one, two) = (Cluster::start(), Cluster::start());
    for cluster in [&one, &two] {
        cluster.kubectl(&["run", "page", "--image=mainstay-hello:1", "--image-pull-policy=Never"]).ok();
    }
    for cluster in [&one, &two] {
        cluster.kubectl(&["wait", "--for=condition=Ready", "pod/page", "--timeout=60s"]).ok();
    }
    for sign in ["mountinfo", "cgroup", "link", "table", "run", "process"] {
        assert!(footprint(&one.id()).contains(sign), "this test must see what a cluster makes: {sign}");
    }
    one.mainstay(&["down"]).ok();
    assert_eq!(footprint(&one.id()), "");
    two.kubectl(&["exec", "page", "--", "true"]).ok();
    two.mainstay(&["down"]).ok();
    assert_eq!(footprint(&two.id()), "");
}

/// What a cluster has made on this machine, one thing a line.
fn footprint(id: &str) -> String {
    let script = format!(
        "grep {id} /proc/self/mountinfo | sed 's/^/mountinfo /'
         find /sys/fs/cgroup -maxdepth 2 -type d -name '*{id}*' | sed 's/^/cgroup /'
         ip -o link | grep {id} | sed 's/^/link /'
         nft list tables | grep {id}
         ls -d /run/mainstay/{id} 2>/dev/null | sed 's/^/run /'
         for pid in $(grep -la {id} /proc/[0-9]*/cgroup 2>/dev/null | cut -d/ -f3); do
             grep -q '^State:.Z' /proc/$pid/status || echo process $pid $(tr '\\0' ' ' < /proc/$pid/cmdline)
         done 2>/dev/null
         true"
    );
    run(Command::new("sh").args(["-c", &script]), "").ok()
}
