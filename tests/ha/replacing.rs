//! A server that is lost for good is replaced, and directories that are in the wrong place: another cluster's, or a copy of one that is in use.

use std::fs;

use crate::command::{Output, eventually, run};
use crate::machine::{Machine, START, Switch};

const SERVER: [&str; 2] = ["server", "--agent=false"];

fn text(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// Three servers.
fn three(switch: &Switch) -> (Vec<Machine>, Vec<String>) {
    let mut machines: Vec<Machine> = (1..=3).map(|number| switch.machine(number)).collect();
    machines[0].start(&SERVER);
    let join = [machines[0].join_arguments("server"), vec!["--agent=false".to_owned()]].concat();
    for machine in &mut machines[1..] {
        machine.start(&text(&join));
    }
    (machines, join)
}

/// The servers by name and peer URL, as one of them tells.
#[track_caller]
fn members(at: &Machine) -> Vec<(String, String)> {
    let said = at.kubectl(&["get", "--raw", "/mainstay/v1/servers"]).ok();
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let words = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let mut all: Vec<_> = said["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| (words(&member["name"]), words(&member["peerUrls"][0])))
        .collect();
    all.sort();
    all
}

fn url(machine: &Machine) -> String {
    format!("https://{}:2380", machine.address())
}

#[track_caller]
fn writes(at: &Machine, name: &str) {
    let written = eventually(START, || (at.kubectl(&["create", "configmap", name]).code == 0).then_some(()));
    assert!(written.is_some(), "{:?}", at.kubectl(&["create", "configmap", name]));
}

fn remove(at: &Machine, name: &str) -> Output {
    let kubeconfig = at.kubeconfig();
    at.mainstay(&["server", "remove", name, "--kubeconfig", kubeconfig.to_str().unwrap()])
}

#[test]
fn a_server_that_is_lost_for_good_is_replaced_by_another_machine_of_its_name() {
    let switch = Switch::new();
    let (mut machines, _) = three(&switch);
    machines[0].kubectl(&["create", "configmap", "precious"]).ok();
    machines[1].kill();
    writes(&machines[2], "with-two-of-three");
    let mut new = switch.machine(4).called("m2");
    let token = |at: &Machine| {
        let kubeconfig = at.kubeconfig();
        at.mainstay(&["token", "create", "--server", "--kubeconfig", kubeconfig.to_str().unwrap()]).ok()
    };
    let join = |at: &Machine, token: &str| {
        let words = ["server", "--join", &at.url(), "--token", token.trim(), "--agent=false"];
        words.map(str::to_owned).to_vec()
    };
    let refused = new.fails(&text(&join(&machines[0], &token(&machines[0]))));
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(
        refused.stderr.contains("the name m2 is taken by the server at https://10.213.0.2:2380"),
        "{refused:?}"
    );
    assert!(refused.stderr.contains("`mainstay server remove m2`"), "{refused:?}");
    let unknown = remove(&machines[0], "m7");
    assert!(
        unknown.code == 2 && unknown.stderr.contains("there is no server \"m7\": there are m"),
        "{unknown:?}"
    );

    // The page of the drill, step by step, through the server that does not lead as well as through the one that does.
    assert!(remove(&machines[2], "m2").ok().contains("server m2 is removed"));
    new.start(&text(&join(&machines[2], &token(&machines[2]))));
    let expected = [("m1", &machines[0]), ("m2", &new), ("m3", &machines[2])]
        .map(|(name, machine)| (name.to_owned(), url(machine)));
    for at in [&machines[0], &machines[2], &new] {
        assert_eq!(members(at), expected);
        at.kubectl(&["get", "configmap", "precious", "with-two-of-three"]).ok();
    }
    // The old one is told that it is no server any more, and disturbs nobody.
    let old = machines[1].fails(&SERVER);
    assert_eq!(old.code, 1, "{old:?}");
    assert!(old.stderr.contains("this member was removed from the cluster"), "{old:?}");
    // It is a cluster of three again: another one may be lost.
    machines[0].kill();
    writes(&new, "with-the-new-one");
}

#[test]
fn a_copy_of_a_servers_directory_and_one_of_another_cluster_are_refused_and_harm_nobody() {
    let switch = Switch::new();
    let (machines, join) = three(&switch);
    let mut copy = switch.machine(4).called("m2");
    let mut cp = copy.command("cp");
    run(cp.arg("-a").arg(machines[1].data_dir()).arg(copy.data_dir()), "").ok();
    fs::remove_file(copy.data_dir().join("lock")).unwrap();
    copy.spawn(&SERVER);
    let ended = copy.ended();
    assert_eq!(ended.code, 1, "{ended:?}");
    let why = "another process runs with this member's identity: was the data directory copied?";
    assert!(ended.stderr.contains(why), "{ended:?}");
    for (number, at) in machines.iter().enumerate() {
        writes(at, &format!("beside-a-copy-{number}"));
        assert_eq!(members(at)[1], ("m2".to_owned(), url(&machines[1])), "it is where it was");
    }

    let mut other = switch.machine(5);
    other.start(&SERVER);
    other.stop();
    let refused = other.fails(&text(&join));
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(
        refused.stderr.contains("is that of a machine of another cluster than the token is of"),
        "{refused:?}"
    );
    other.start(&SERVER);
    assert_eq!(members(&other), [("m5".to_owned(), url(&other))], "it is what it was");
    assert_eq!(members(&machines[0]).len(), 3);
}
