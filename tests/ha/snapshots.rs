//! Snapshots of a whole cluster: taken by the clock and by hand, refused when they are not sound, and made a cluster again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::command::{Output, eventually, run};
use crate::machine::{Machine, Switch};

const SOON: Duration = Duration::from_secs(60);

fn text(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[track_caller]
fn list(at: &Machine) -> Vec<String> {
    let said = at.mainstay(&["snapshot", "list", "--data-dir", path(&at.data_dir())]).ok();
    said.lines().filter(|line| line.starts_with("scheduled-")).map(str::to_owned).collect()
}

#[track_caller]
fn restore(at: &Machine, file: &Path, more: &[&str]) -> Output {
    let data_dir = at.data_dir();
    at.mainstay(&[&["snapshot", "restore", path(file), "--data-dir", path(&data_dir)], more].concat())
}

#[track_caller]
fn assert_refused(said: &Output, words: &str) {
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.stderr.starts_with("mainstay: ") && said.stderr.contains(words), "{said:?}");
    assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
}

#[track_caller]
fn has(at: &Machine, kind: &str, name: &str) -> bool {
    let said = at.kubectl(&["get", kind, name, "--ignore-not-found", "-o", "name"]).ok();
    !said.trim().is_empty()
}

#[track_caller]
fn secret(at: &Machine) -> String {
    at.kubectl(&["get", "secret", "precious", "-o", "jsonpath={.data.key}"]).ok()
}

/// Copies of the snapshot that are not sound, each with what is said about it.
fn unsound(file: &Path) -> Vec<(PathBuf, &'static str)> {
    let bytes = fs::read(file).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let copy = file.with_file_name(name);
        fs::write(&copy, bytes).unwrap();
        copy
    };
    let changed = |at: usize, to: u8| {
        let mut changed = bytes.clone();
        changed[at] ^= to;
        changed
    };
    vec![
        (write("cut", &bytes[..bytes.len() - 20]), "it ends early"),
        (write("altered", &changed(bytes.len() - 5000, 1)), "a checksum does not match"),
        (write("altered-manifest", &changed(80, 1)), "the checksum of its manifest does not match"),
        (write("newer", &changed(26, 3)), "use the mainstay that wrote it"),
    ]
}

#[test]
fn a_cluster_comes_back_from_a_snapshot_on_one_server_and_the_others_join_it() {
    let switch = Switch::new();
    let mut machines: Vec<Machine> = (1..=2).map(|number| switch.machine(number)).collect();
    let mut worker = switch.machine(3);
    let flags = ["server", "--agent=false", "--snapshot-interval", "1s", "--snapshot-keep", "2"];
    machines[0].start(&flags);
    let mut join = machines[0].join_arguments("server");
    join.push("--agent=false".to_owned());
    machines[1].start(&text(&join));
    worker.start(&text(&machines[0].join_arguments("agent")));
    machines[0].kubectl(&["create", "secret", "generic", "precious", "--from-literal=key=value"]).ok();

    let listed = eventually(SOON, || {
        let listed = list(&machines[0]);
        // The directory settles at two; a third is there for a moment only.
        (listed.len() >= 2).then_some(listed)
    });
    let listed = listed.expect("snapshots are taken by the clock");
    assert!(listed.len() <= 3 && listed.iter().all(|line| line.ends_with("yes")), "{listed:?}");

    let work = tempfile::tempdir().unwrap();
    let (file, passphrase) = (work.path().join("saved.snapshot"), work.path().join("passphrase"));
    fs::write(&passphrase, "correct horse battery staple\n").unwrap();
    let data_dir = machines[0].data_dir();
    let with_keys = ["--passphrase-file", path(&passphrase)];
    let save = ["snapshot", "save", path(&file), "--data-dir", path(&data_dir)];
    let said = machines[0].mainstay(&[&save[..], &with_keys].concat()).ok();
    assert!(said.contains("with sealed keys"), "{said}");
    machines[0].kubectl(&["create", "configmap", "after-the-snapshot"]).ok();

    assert_refused(&restore(&machines[0], &file, &["--yes"]), "stop all servers first");
    machines[0].stop();
    machines[1].kill();
    for (copy, words) in unsound(&file) {
        assert_refused(&restore(&machines[0], &copy, &["--yes"]), words);
    }
    assert_refused(&restore(&machines[0], &file, &[]), "give --yes");
    machines[0].mainstay(&["snapshot", "status", path(&file)]).ok();

    let again = ["snapshot", "restore", path(&file), "--yes", "--data-dir", path(&data_dir)];
    for millis in [40, 80, 120, 160, 200] {
        machines[0].killed_after(&again, Duration::from_millis(millis));
    }
    restore(&machines[0], &file, &["--yes"]).ok();
    machines[0].start(&flags);
    assert_eq!(secret(&machines[0]), "dmFsdWU=");
    assert!(!has(&machines[0], "configmap", "after-the-snapshot"));
    let ready = eventually(SOON, || {
        let path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}";
        (machines[0].kubectl(&["get", "node", "m3", "-o", path]).stdout == "True").then_some(())
    });
    assert!(ready.is_some(), "a worker goes on by itself");
    // The other one is started as always, and finds out by itself.
    machines[1].start(&["server", "--agent=false"]);
    assert_eq!(secret(&machines[1]), "dmFsdWU=");
    assert!(!has(&machines[1], "configmap", "after-the-snapshot"));

    // Nothing is left but the file and the passphrase.
    for machine in &mut machines {
        machine.kill();
    }
    fs::remove_dir_all(machines[0].data_dir()).unwrap();
    assert_refused(&restore(&machines[0], &file, &[]), "give --passphrase-file");
    let wrong = work.path().join("wrong");
    fs::write(&wrong, "incorrect horse battery staple\n").unwrap();
    assert_refused(
        &restore(&machines[0], &file, &["--passphrase-file", path(&wrong)]),
        "with this passphrase",
    );
    for millis in [200, 900, 1000, 1100, 1200] {
        machines[0].killed_after(&[&again[..], &with_keys].concat(), Duration::from_millis(millis));
    }
    // The last kill may have come too late: then there is a server's directory already.
    restore(&machines[0], &file, &[&with_keys[..], &["--yes"]].concat()).ok();
    machines[0].start(&["server", "--agent=false", "--snapshot-interval", "0"]);
    assert_eq!(secret(&machines[0]), "dmFsdWU=");
}

fn unix_now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// A time as people and `--at` write it.
fn shown(format: &str) -> String {
    run(std::process::Command::new("date").arg("-u").arg(format), "").ok().trim().to_owned()
}

/// Somebody deletes something by mistake, and knows at what time that was.
#[test]
fn a_cluster_goes_back_to_a_time_of_day() {
    let switch = Switch::new();
    let mut machine = switch.machine(1);
    let server = ["server", "--agent=false", "--snapshot-interval", "0"];
    machine.start(&server);
    machine.kubectl(&["create", "configmap", "kept"]).ok();
    let kept_at = unix_now();
    let work = tempfile::tempdir().unwrap();
    let (file, nowhere) = (work.path().join("saved.snapshot"), work.path().join("nowhere"));
    let data_dir = machine.data_dir();
    let save = || machine.mainstay(&["snapshot", "save", path(&file), "--data-dir", path(&data_dir)]).ok();
    let noted = eventually(SOON, || {
        save();
        let at = ["--at", &shown("+%Y-%m-%dT%H:%M:%S.%NZ")];
        let look = ["snapshot", "restore", path(&file), "--data-dir", path(&nowhere)];
        // It says which moment that is, and refuses an empty directory.
        let said = machine.mainstay(&[&look[..], &at].concat());
        let told = said.stdout.split("noted by then is ").nth(1)?.split(": ").next()?.to_owned();
        let told = run(std::process::Command::new("date").args(["+%s", "-d", &told]), "").ok();
        (told.trim().parse::<u64>().unwrap() > kept_at).then_some(())
    });
    noted.expect("a moment is noted after what was written");
    let moment = shown("+%Y-%m-%dT%H:%M:%S.%NZ");
    machine.kubectl(&["delete", "configmap", "kept"]).ok();
    machine.kubectl(&["create", "configmap", "later"]).ok();
    save();
    machine.stop();
    assert_refused(
        &restore(&machine, &file, &["--yes", "--at", "2020-01-01T00:00:00Z"]),
        "goes back to moments from 20",
    );
    assert_refused(
        &restore(&machine, &file, &["--yes", "--at", "2099-01-01T00:00:00Z"]),
        "has nothing later",
    );
    let said = restore(&machine, &file, &["--yes", "--at", &moment]).ok();
    assert!(said.contains("the newest moment that is noted by then is "), "{said}");
    machine.start(&server);
    assert!(has(&machine, "configmap", "kept"));
    assert!(!has(&machine, "configmap", "later"));
}
