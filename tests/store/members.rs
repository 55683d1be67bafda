//! Members that come and go, as etcdctl asks for it.

use std::process::Command;

use crate::cluster::{Cluster, Kind, until};
use crate::{BINARY, text};

/// The identifier and the number of the member that leads, and of one that does not.
fn leader_and_follower(cluster: &Cluster) -> [(String, usize); 2] {
    let mut found = [None, None];
    until("a member leads", || {
        for (number, line) in cluster.etcdctl(&["endpoint", "status"]).lines().enumerate() {
            let fields: Vec<&str> = line.split(", ").collect();
            let leads = fields.get(4) == Some(&"true");
            found[usize::from(!leads)] = Some((fields[1].to_owned(), number));
        }
        found.iter().all(Option::is_some)
    });
    found.map(Option::unwrap)
}

#[test]
fn a_member_that_is_removed_ends_with_code_0_whether_it_leads_or_not() {
    for leads in [false, true] {
        let mut cluster = Cluster::start(Kind::Ours, 3);
        let [leader, follower] = leader_and_follower(&cluster);
        let ((id, number), (_, asked)) = if leads { (leader, follower) } else { (follower, leader) };
        let said = cluster.etcdctl_of(asked, &["member", "remove", &id]);
        assert!(said.contains(" removed from cluster "), "{said}");
        let mut ended = None;
        until("it ends", || {
            ended = cluster.members[number].try_wait().unwrap();
            ended.is_some()
        });
        assert_eq!(ended.unwrap().code(), Some(0));
    }
}

#[test]
fn with_a_member_down_none_is_added_and_none_that_is_needed_is_removed() {
    let mut cluster = Cluster::start(Kind::Ours, 3);
    let [_leader, (dead, number)] = leader_and_follower(&cluster);
    cluster.kill_one(number);
    let unhealthy = "Error: etcdserver: unhealthy cluster";
    for added in [&["--learner"][..], &[]] {
        let add = [&["member", "add", "m9", "--peer-urls=http://127.0.0.1:9"], added].concat();
        let said = cluster.etcdctl(&add);
        assert!(said.contains(unhealthy), "{said}");
    }
    for needed in others(&cluster, &dead) {
        let said = cluster.etcdctl(&["member", "remove", &needed]);
        assert!(said.contains(unhealthy), "{said}");
    }
    assert_eq!(cluster.etcdctl(&["put", "k", "v"]), "OK\n");
    assert!(cluster.etcdctl(&["member", "remove", &dead]).contains(" removed from cluster "));
    let said = cluster.etcdctl(&["member", "add", "m9", "--peer-urls=http://127.0.0.1:9"]);
    assert!(said.contains(" added to cluster "), "{said}");
}

/// The identifiers of all members but one.
fn others(cluster: &Cluster, dead: &str) -> Vec<String> {
    let listed = cluster.etcdctl(&["member", "list"]);
    let ids = listed.lines().filter_map(|line| line.split(", ").next());
    ids.filter(|id| *id != dead).map(str::to_owned).collect()
}

#[test]
fn what_is_not_built_or_is_etcds_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = |environment: &[(&str, &str)], flags: &[&str]| {
        let mut command = Command::new(BINARY);
        command.arg("store").args(flags).envs(environment.iter().copied()).current_dir(dir.path());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        text(&output)
    };
    let told = store(&[("ETCD_CLIENT_CRL_FILE", "/crl")], &["--listen-client-urls=http://127.0.0.1:0"]);
    assert!(told.starts_with("mainstay: --client-crl-file=/crl is not built: "), "{told}");
    let etcds = dir.path().join("old");
    std::fs::create_dir_all(etcds.join("member/snap")).unwrap();
    std::fs::write(etcds.join("member/snap/db"), "").unwrap();
    let told = store(&[], &["--data-dir=old", "--listen-client-urls=http://127.0.0.1:0"]);
    assert!(told.contains("`mainstay store migrate --from-etcd old/member/snap/db"), "{told}");
}
