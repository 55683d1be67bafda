//! `mainstay apiserver` on a store of its own: ours and etcd's, with kubectl. Needs kubectl, whose path
//! `MAINSTAY_TEST_KUBECTL` gives (`scripts/test` sets it).

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use rustix::process::{Pid, Signal, kill_process};

use crate::cluster::{Cluster, Kind, SOON, free_ports, until};
use crate::{BINARY, text};

/// A running `mainstay apiserver`; killed when dropped.
pub(crate) struct ApiServer {
    child: Child,
    dir: PathBuf,
}

/// The lines that a process prints.
pub(crate) fn lines(out: ChildStdout) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

impl ApiServer {
    pub(crate) fn start(dir: &Path, port: u16, servers: &str, prefix: &str) -> Self {
        Self::start_with(dir, port, servers, &["--etcd-prefix", prefix])
    }

    pub(crate) fn start_with(dir: &Path, port: u16, servers: &str, flags: &[&str]) -> Self {
        let mut child = Command::new(BINARY)
            .args(["apiserver", "--etcd-servers", servers])
            .args(flags)
            .args(["--bind", &format!("127.0.0.1:{port}"), "--log", "info", "--data-dir"])
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(dir.with_extension("log")).unwrap())
            .spawn()
            .unwrap();
        let said = lines(child.stdout.take().unwrap()).recv_timeout(SOON);
        let server = Self { child, dir: dir.to_owned() };
        assert!(said.as_ref().is_ok_and(|line| line.starts_with("ready in ")), "{said:?}: {}", server.log());
        server
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.with_extension("log")).unwrap_or_default()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        #[allow(clippy::disallowed_methods, reason = "set by scripts/test")]
        let kubectl =
            std::env::var_os("MAINSTAY_TEST_KUBECTL").expect("MAINSTAY_TEST_KUBECTL gives kubectl's path");
        let mut command = Command::new(kubectl);
        command.arg("--kubeconfig").arg(self.dir.join("admin.kubeconfig")).args(arguments);
        command.env("KUBECACHEDIR", self.dir.join("cache"));
        command
    }

    /// Whether it succeeded, and what it said.
    fn try_kubectl(&self, arguments: &[&str]) -> (bool, String) {
        let output = self.command(arguments).output().unwrap();
        (output.status.success(), text(&output))
    }

    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        let (ok, said) = self.try_kubectl(arguments);
        assert!(ok, "kubectl {arguments:?}: {said}\n{}", self.log());
        said
    }

    pub(crate) fn terminate(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        // After `terminate` there is nothing to kill.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn kubectl_works_on_a_store_of_its_own_and_over_its_death() {
    for kind in [Kind::Ours, Kind::Etcd] {
        let mut store = Cluster::start(kind, 1);
        let dir = tempfile::tempdir().unwrap();
        let port = free_ports(1)[0];
        let server = ApiServer::start(&dir.path().join("data"), port, &store.endpoints(), "/registry");
        server.kubectl(&["create", "configmap", "a", "--from-literal=k=1"]);
        assert_eq!(server.kubectl(&["get", "configmap", "a", "-o", "jsonpath={.data.k}"]), "1");
        let kept = store.etcdctl(&["get", "--prefix", "/registry/configmaps/default/", "--keys-only"]);
        assert!(kept.contains("/registry/configmaps/default/a"), "{kind:?}: {kept}");
        let mut watch = server
            .command(&["get", "configmaps", "--watch-only", "-o", "name"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let seen = lines(watch.stdout.take().unwrap());
        // The watch stands once it shows something.
        until("the watch shows a change", || {
            server.kubectl(&[
                "annotate",
                "--overwrite",
                "configmap",
                "a",
                &format!("n={}", rand::random::<u32>()),
            ]);
            seen.try_recv().is_ok()
        });

        store.kill();
        let (ok, said) = server.try_kubectl(&["create", "configmap", "b"]);
        assert!(!ok && said.contains("the store cannot be reached"), "{kind:?}: {said}");
        let ready = server.try_kubectl(&["get", "--raw", "/readyz?verbose"]).1;
        assert!(ready.contains("[-]etcd failed"), "{kind:?}: {ready}");
        store.revive(kind);
        until("writes go on", || server.try_kubectl(&["create", "configmap", "c"]).0);
        until("the same watch goes on", || seen.try_iter().any(|name| name == "configmap/c"));
        server.kubectl(&["delete", "configmap", "a"]);
        assert!(!server.kubectl(&["get", "configmaps"]).contains("a   "));
        watch.kill().unwrap();
        watch.wait().unwrap();
        assert_eq!(server.terminate(), Some(0), "{kind:?}");
        // Another server on the same store finds everything.
        let again = ApiServer::start(&dir.path().join("data"), port, &store.endpoints(), "/registry");
        assert!(again.kubectl(&["get", "configmap", "c"]).contains("c   "));
    }
}

#[test]
fn clusters_with_different_prefixes_share_a_store_and_one_of_three_members_may_die() {
    let mut store = Cluster::start(Kind::Ours, 3);
    let dir = tempfile::tempdir().unwrap();
    let ports = free_ports(2);
    let servers: Vec<ApiServer> = ["/one", "/two"]
        .iter()
        .zip(&ports)
        .map(|(prefix, port)| {
            ApiServer::start(&dir.path().join(port.to_string()), *port, &store.endpoints(), prefix)
        })
        .collect();
    servers[0].kubectl(&["create", "configmap", "mine"]);
    assert!(!servers[1].kubectl(&["get", "configmaps"]).contains("mine"));
    store.kill_one(0);
    for (server, name) in servers.iter().zip(["x", "y"]) {
        until("writes go on with two of three", || server.try_kubectl(&["create", "configmap", name]).0);
        assert!(server.kubectl(&["get", "configmaps"]).contains(name));
    }
}

#[test]
fn a_store_that_does_not_answer_is_one_line_and_exit_code_2() {
    let port = free_ports(1)[0];
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    for (servers, wanted) in [
        (format!("http://127.0.0.1:{port}"), "the store cannot be reached"),
        ("127.0.0.1:2379".to_owned(), "give http://HOST:PORT"),
    ] {
        let output = Command::new(BINARY)
            .args([
                "apiserver",
                "--log",
                "error",
                "--etcd-servers",
                &servers,
                "--bind",
                "127.0.0.1:0",
                "--data-dir",
            ])
            .arg(&data)
            .output()
            .unwrap();
        let said = text(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.lines().count() == 1 && said.contains(wanted), "{said}");
        assert!(!data.exists(), "nothing was made");
    }
}
