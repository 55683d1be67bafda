//! A daemon as a service of the machine: its settings in a file, and what it tells the service manager.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::cluster::{Cluster, binary};
use crate::command::{eventually, run, wait};

#[test]
fn a_daemon_takes_its_settings_from_the_file_and_tells_the_service_manager_how_it_is() {
    let cluster = Cluster::prepare();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.yaml");
    fs::write(&config, "log: info\nlog-json: true\n").unwrap();
    let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let log = fs::File::create(cluster.log()).unwrap();
    let mut command = cluster.up_command();
    command.arg("--config").arg(&config);
    // What flags say is stronger than the file, and `up_command` says --log.
    command.env("NOTIFY_SOCKET", dir.path().join("notify")).env("WATCHDOG_USEC", "200000");
    let mut daemon = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let mut told = BTreeSet::new();
    let mut hears = |what: &'static str, times: usize| {
        let mut heard = 0;
        let found = eventually(Duration::from_secs(60), || {
            let mut bytes = [0; 256];
            let text = socket.recv(&mut bytes).map_or_else(
                |_| String::new(),
                |length| String::from_utf8_lossy(&bytes[..length]).into_owned(),
            );
            heard += text.lines().filter(|line| *line == what).count();
            told.extend(text.lines().map(str::to_owned));
            (heard >= times).then_some(())
        });
        assert!(
            found.is_some(),
            "{what} was told {heard} times of {times}; told was {told:?}\n{}",
            fs::read_to_string(cluster.log()).unwrap()
        );
    };
    hears("READY=1", 1);
    hears("WATCHDOG=1", 5);
    kill_process(Pid::from_child(&daemon), Signal::TERM).unwrap();
    hears("STOPPING=1", 1);
    assert_eq!(wait(&mut daemon, "mainstay up"), 0);
    let log = fs::read_to_string(cluster.log()).unwrap();
    let line: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    assert!(line.is_object(), "log-json of the file holds: {log}");
}

#[test]
fn a_wrong_file_of_settings_is_refused_by_name_with_code_2() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.yaml");
    fs::write(&config, "node_name: x\n").unwrap();
    let data = dir.path().join("data");
    let output = run(
        Command::new(binary()).args(["server", "--config"]).arg(&config).arg("--data-dir").arg(&data),
        "",
    );
    assert_eq!(output.code, 2, "{output:?}");
    assert!(
        output.stderr.contains("config.yaml: there is no setting \"node_name\": write \"node-name\""),
        "{output:?}"
    );
    assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
    assert!(!data.exists());
}

#[test]
fn an_installed_service_has_its_settings_in_the_file_and_goes_again_without_a_trace() {
    let root = tempfile::tempdir().unwrap();
    let mainstay = |words: &[&str]| {
        let root = root.path().to_str().unwrap();
        let (command, rest) = words.split_first().unwrap();
        run(Command::new(binary()).arg(command).args(["--root", root]).args(rest), "")
    };
    let said = mainstay(&["install", "server", "--node-name=one", "--agent=false"]).ok();
    assert!(said.contains("mainstay.service starts with the machine"), "{said}");
    let config = root.path().join("etc/mainstay/config.yaml");
    let unit = root.path().join("etc/systemd/system/mainstay.service");
    assert_eq!(fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&unit).unwrap();
    assert!(text.contains("mainstay server --config /etc/mainstay/config.yaml"), "{text}");
    assert!(text.contains("\nProtectSystem=strict\n"), "a server without pods is confined: {text}");
    let link = root.path().join("etc/systemd/system/multi-user.target.wants/mainstay.service");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());

    // What was said before stays where nothing else is said.
    mainstay(&["install", "server", "--node-name=two"]).ok();
    let shown =
        run(Command::new(binary()).args(["config", "print", "server", "--config"]).arg(&config), "").ok();
    let shown_of = |key: &str| shown.lines().find(|line| line.starts_with(key)).unwrap_or(&shown).to_owned();
    assert!(
        shown_of("node-name:").contains("two") && shown_of("node-name:").contains("config.yaml"),
        "{shown}"
    );
    assert!(shown_of("agent:").contains("false"), "{shown}");
    assert!(shown_of("bind:").ends_with("# default"), "{shown}");

    mainstay(&["uninstall"]).ok();
    assert!(!unit.exists() && !config.exists() && fs::symlink_metadata(&link).is_err());
    mainstay(&["uninstall"]).ok();
    fs::write(&unit, "[Unit]\n").unwrap();
    let output = mainstay(&["install", "server"]);
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.stderr.contains("was not written by `mainstay install`"), "{output:?}");
}

#[test]
fn a_check_says_what_is_lacking_before_anything_starts() {
    let cluster = Cluster::prepare();
    let mut check = Command::new(binary());
    let good =
        ["check", "up", "--cluster-cidr=10.99.0.0/17", "--service-cidr=10.99.128.0/17", "--bind=127.0.0.1:0"];
    check.args(good).arg("--data-dir").arg(cluster.data_dir());
    let said = run(&mut check, "").ok();
    assert!(said.lines().all(|line| line.starts_with("ok ")), "{said}");
    assert!(!cluster.data_dir().exists());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let bind = taken.local_addr().unwrap().to_string();
    let output = run(
        Command::new(binary())
            .args(["check", "server", "--bind", &bind, "--data-dir"])
            .arg(cluster.data_dir()),
        "",
    );
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.stdout.contains(&format!("LACKING port {bind}: {bind} is in use")), "{output:?}");
}
