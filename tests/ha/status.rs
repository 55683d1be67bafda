//! What `mainstay status` says of a cluster: each server, its lag, its snapshots and certificates, and what is wrong.

use std::fs;
use std::time::Duration;

use crate::command::{Output, eventually};
use crate::machine::{Machine, Switch};

const SOON: Duration = Duration::from_secs(60);

fn status(at: &Machine) -> Output {
    at.mainstay(&["status", "--data-dir", at.data_dir().to_str().unwrap()])
}

#[track_caller]
fn until(at: &Machine, code: i32, words: &[&str]) -> String {
    let mut said = None;
    let found = eventually(SOON, || {
        let now = said.insert(status(at));
        (now.code == code && words.iter().all(|words| now.stdout.contains(words))).then(|| now.stdout.clone())
    });
    found.unwrap_or_else(|| panic!("not within {SOON:?}: {code}, {words:#?}: {said:#?}"))
}

#[test]
fn status_tells_of_every_server_and_of_what_is_wrong() {
    let switch = Switch::new();
    let mut machines: Vec<Machine> = (1..=3).map(|number| switch.machine(number)).collect();
    let no_dir = tempfile::NamedTempFile::new().unwrap();
    let wrong = ["--snapshot-interval", "1s", "--snapshot-dir", no_dir.path().to_str().unwrap()];
    machines[0].start(&["server", "--agent=false", "--snapshot-interval", "1s"]);
    let join = machines[0].join_arguments("server");
    let mut join: Vec<&str> = join.iter().map(String::as_str).collect();
    join.push("--agent=false");
    machines[1].start(&join);
    let joined = [
        "server m1 at https://10.213.0.1:2380: serves, ",
        "server m2 at https://10.213.0.2:2380: serves, ",
        "store: 2 of 2 servers answer, none more may be lost",
        "snapshots of m1: the last is scheduled-",
        "snapshots of m2: none yet in ",
        "certificates of m2: ",
        "nothing is wrong",
    ];
    until(&machines[0], 0, &joined);

    machines[2].start(&[&join[..], &wrong].concat());
    let failing = [
        "store: 3 of 3 servers answer, 1 more may be lost",
        "wrong: server m3 has failed to take a snapshot since ",
        "one thing is wrong",
    ];
    until(&machines[1], 1, &failing[..2]);
    assert_eq!(status(&machines[1]).stderr.trim(), format!("mainstay: {}", failing[2]));

    // A server that is mended is well again; one that is gone is missed, with what to do.
    fs::remove_file(no_dir.path()).unwrap();
    until(&machines[1], 0, &["snapshots of m3: the last is scheduled-", "nothing is wrong"]);
    machines[2].kill();
    let lost = [
        "server m3 at https://10.213.0.3:2380: LOST: it does not answer: ",
        "remove it with `mainstay server remove m3`",
        "store: 2 of 3 servers answer, none more may be lost",
    ];
    until(&machines[0], 1, &lost);
}
