//! The quorum is lost for good: one server goes on alone, and the others join again.

use std::fs;
use std::time::Duration;

use crate::cluster::pause;
use crate::command::Output;
use crate::machine::{Machine, Switch};

fn text(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

fn servers(at: &Machine) -> Vec<String> {
    let said = at.kubectl(&["get", "--raw", "/mainstay/v1/servers"]).ok();
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    said["members"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn recover(at: &Machine, more: &[&str]) -> Output {
    let data_dir = at.data_dir();
    at.mainstay(&[&["server", "recover", "--data-dir", data_dir.to_str().unwrap()], more].concat())
}

#[track_caller]
fn assert_refused(said: &Output, words: &str) {
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.stderr.starts_with("mainstay: ") && said.stderr.contains(words), "{said:?}");
    assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
}

#[test]
fn one_server_goes_on_when_the_others_are_lost_for_good() {
    let switch = Switch::new();
    let mut machines: Vec<Machine> = (1..=3).map(|number| switch.machine(number)).collect();
    machines[0].start(&["server", "--agent=false"]);
    let mut join = machines[0].join_arguments("server");
    join.push("--agent=false".to_owned());
    for machine in &mut machines[1..] {
        machine.start(&text(&join));
    }
    machines[1].kubectl(&["create", "configmap", "precious", "--from-literal=a=b"]).ok();
    machines[0].kubectl(&["get", "configmap", "precious"]).ok();

    assert_refused(&recover(&machines[0], &["--yes"]), "stop this server first");
    machines[0].kill();
    assert_refused(&recover(&machines[0], &["--yes"]), "so it is not lost: start this server instead");
    machines[1].kill();
    machines[2].kill();
    let asked = recover(&machines[0], &[]);
    assert_refused(&asked, "give --yes");
    let said = &asked.stdout;
    assert!(said.contains("given up: server m2") && said.contains("given up: server m3"), "{said}");
    for millis in [30, 60, 90, 120] {
        let data_dir = machines[0].data_dir();
        let arguments = ["server", "recover", "--yes", "--data-dir", data_dir.to_str().unwrap()];
        machines[0].killed_after(&arguments, Duration::from_millis(millis));
    }
    let said = recover(&machines[0], &["--yes"]).ok();
    let is_done = said.contains("is the only server of its cluster already"); // the last kill came too late
    assert!(is_done || said.contains("recovered: the store is at revision"), "{said}");
    let again = recover(&machines[0], &["--yes"]).ok();
    assert!(again.contains("is the only server of its cluster already"), "{again}");

    machines[0].start(&["server", "--agent=false"]);
    assert_eq!(servers(&machines[0]), ["m1"]);
    machines[0].kubectl(&["get", "configmap", "precious"]).ok();
    machines[0].kubectl(&["create", "configmap", "after"]).ok();

    // Both of the others come back with their old data: two of three, had they not been given up. They join again by themselves, killed on
    // the way or not.
    for millis in [300, 700, 1100, 1500] {
        for machine in &mut machines[1..] {
            machine.spawn(&["server", "--agent=false"]);
        }
        pause(Duration::from_millis(millis));
        machines[1..].iter_mut().for_each(Machine::kill);
    }
    for machine in &mut machines[1..] {
        machine.spawn(&["server", "--agent=false"]);
    }
    for machine in &mut machines[1..] {
        machine.is_ready_soon();
        let log = fs::read_to_string(machine.log()).unwrap();
        assert!(log.contains("it joins it again, with what it has"), "{log}");
        assert!(machine.data_dir().join("store.replaced").exists(), "its data of before is kept");
        for name in ["precious", "after"] {
            machine.kubectl(&["get", "configmap", name]).ok();
        }
    }
    assert_eq!(servers(&machines[2]).len(), 3);
    // It is a cluster like any other: the one that was recovered may be lost.
    machines[0].kill();
    let written = crate::command::eventually(crate::machine::START, || {
        (machines[1].kubectl(&["create", "configmap", "without-the-first"]).code == 0).then_some(())
    });
    assert!(written.is_some(), "two of three go on");
}
