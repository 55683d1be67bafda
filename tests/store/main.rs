//! The real binary as a store for etcd's clients. Needs Debian's `etcd-client`, and an etcd to compare with (`scripts/etcd-peer`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod apiserver;
mod cluster;
mod commands;
mod interop;
mod members;
mod traces;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_mainstay");

/// `mainstay store`, ready; killed when dropped.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(dir: &Path, flags: &[&str]) -> Self {
        let mut child = Command::new(BINARY)
            .args(["store", "--listen-client-urls=http://127.0.0.1:0", "--log-level=info"])
            .arg(format!("--data-dir={}", dir.display()))
            .args(flags)
            .env("ETCD_NAME", "from-env")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended before it was ready");
            if line.contains("ready to serve client requests") {
                break;
            }
        }
        let url = line.split("address=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
        // What it says from now on must not block it.
        std::thread::spawn(move || drop(std::io::copy(&mut log, &mut std::io::sink())));
        Self { child, url }
    }

    fn etcdctl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").arg(format!("--endpoints={}", self.url)).args(arguments);
        text(&command.output().expect("this test needs etcdctl: apt-get install etcd-client"))
    }

    /// Ends it in order and returns its exit code.
    fn terminate(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After `terminate` there is nothing to kill.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn it_serves_etcdctl_ends_in_order_and_keeps_its_data() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    assert_eq!(server.etcdctl(&["put", "greeting", "hello"]), "OK\n");
    assert!(server.etcdctl(&["member", "list"]).contains(", started, from-env, "));
    let status = Command::new(BINARY).args(["store", "status", "--endpoints", &server.url]).output().unwrap();
    let words = text(&status);
    assert!(
        words.starts_with("from-env ") && words.contains(": leader, up to date, revision 2, "),
        "{words}"
    );
    assert_eq!(server.terminate(), Some(0));
    let again = Server::start(dir.path(), &[]);
    assert_eq!(again.etcdctl(&["get", "greeting"]), "greeting\nhello\n");
    assert_eq!(again.terminate(), Some(0));
}

#[test]
fn etcdctls_load_check_passes() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let checked = server.etcdctl(&["check", "datascale", "--load=s"]);
    assert!(checked.contains("PASS: Approximate system memory used"), "{checked}");
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn a_wrong_flag_is_one_line_and_exit_code_2() {
    for arguments in
        [&["store", "--nonsense"][..], &["store", "--max-txn-ops=x"], &["store", "--listen-client-urls=x"]]
    {
        let mut child = Command::new(BINARY).args(arguments).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(2), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}
