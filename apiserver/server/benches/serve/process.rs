//! A server in a process of its own, so that its memory and its CPU time are its own: this program, called again.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use mainstay_apiserver_server::config::PemPair;

use crate::harness::{Client, Server};

/// The argument that makes this program a server over a directory.
pub(crate) const SERVER: &str = "server-process";

/// A running server; killed when it is dropped.
pub(crate) struct ServerProcess {
    child: Child,
    pub(crate) client: Client,
}

/// What [`SERVER`] does: serves until it is killed.
pub(crate) async fn serve(dir: &Path) {
    let server = Server::start_in(dir.to_owned()).await;
    let identity = server.identity();
    for (name, pem) in [("ca", &server.ca_pem), ("cert", &identity.cert_pem), ("key", &identity.key_pem)] {
        std::fs::write(dir.join(name), pem).unwrap();
    }
    println!("{}", server.api.local_addr());
    std::future::pending::<()>().await;
}

impl ServerProcess {
    /// Starts one over `dir`, which may hold objects already.
    pub(crate) fn start(dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg(SERVER)
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let read = |name: &str| std::fs::read(dir.join(name)).unwrap();
        let identity = PemPair { cert_pem: read("cert"), key_pem: read("key") };
        let client = Client::new(line.trim().parse().unwrap(), &read("ca"), &identity);
        Self { child, client }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has in memory now.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most that it had in memory since [`ServerProcess::forget_peak`].
    pub(crate) fn peak_bytes(&self) -> u64 {
        self.status("VmHWM:")
    }

    pub(crate) fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").unwrap();
    }

    fn status(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// The CPU time that it has used, in seconds.
    pub(crate) fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        ticks as f64 / 100.0 // on every Linux that we run on
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
