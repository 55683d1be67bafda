//! SIGKILL of a leader, with real processes over TCP and timers as they are by default: writes are back in half a second, and nothing that was
//! acknowledged is lost. The test runs itself as the members, and talks to them through their standard input and output.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "it measures time, and its children are told where they are")]
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstay_store::{ClusterConfig, Config, InitialMember, RangeRequest, Store, TcpTransport};

const MEMBERS: usize = 3;
const KILLS: usize = 5;
/// Tells the child which member it is, where its directory is, and the ports of all.
const MEMBER_VARIABLE: &str = "MAINSTAY_STORE_CLUSTER_MEMBER";

/// A running member.
struct Process {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Process {
    fn start(member: usize, dir: &Path, ports: &[u16]) -> Self {
        let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
        let told = format!("{member} {} {}", ports.join(","), dir.display());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_killed_leader_is_replaced_in_half_a_second", "--nocapture"])
            .env(MEMBER_VARIABLE, told)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let (commands, answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, commands, answers: BufReader::new(answers) }
    }

    /// One command, one answer.
    fn ask(&mut self, command: &str) -> String {
        writeln!(self.commands, "{command}").unwrap();
        self.commands.flush().unwrap();
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(self.answers.read_line(&mut line).unwrap(), 0, "the member ended by itself");
            if let Some((_, answer)) = line.split_once("= ") {
                return answer.trim_end().to_owned();
            }
        }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn a_killed_leader_is_replaced_in_half_a_second() {
    if let Ok(told) = std::env::var(MEMBER_VARIABLE) {
        member(&told);
        return;
    }
    let dirs: Vec<_> = (0..MEMBERS).map(|_| tempfile::tempdir().unwrap()).collect();
    // Held until all are known, so that they differ.
    let free: Vec<TcpListener> = (0..MEMBERS).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<u16> = free.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
    drop(free);
    let mut members: Vec<Process> =
        (0..MEMBERS).map(|member| Process::start(member, dirs[member].path(), &ports)).collect();
    for member in &mut members {
        assert_eq!(member.ask("ready"), "ok");
    }
    let mut gaps = Vec::new();
    let mut written = 0;
    for _ in 0..KILLS {
        let leader = (0..MEMBERS).find(|member| members[*member].ask("leads") == "true").unwrap();
        for member in &mut members {
            assert_eq!(member.ask(&format!("put k{written:04}")), "ok");
            written += 1;
        }
        let other = (leader + 1) % MEMBERS;
        let dead = members.remove(leader);
        let began = Instant::now();
        dead.kill();
        let survivor = if other > leader { other - 1 } else { other };
        assert_eq!(members[survivor].ask(&format!("put k{written:04}")), "ok");
        gaps.push(began.elapsed());
        written += 1;
        let mut back = Process::start(leader, dirs[leader].path(), &ports);
        assert_eq!(back.ask("ready"), "ok");
        assert_eq!(back.ask("count"), written.to_string(), "nothing acknowledged is lost");
        members.insert(leader, back);
    }
    gaps.sort_unstable();
    println!("writes were back after {gaps:?}");
    assert!(gaps[KILLS / 2] < Duration::from_millis(500), "the median of {gaps:?}");
    for member in members {
        member.kill();
    }
}

/// What a child does.
fn member(told: &str) {
    let mut words = told.splitn(3, ' ');
    let member: usize = words.next().unwrap().parse().unwrap();
    let ports: Vec<u16> = words.next().unwrap().split(',').map(|port| port.parse().unwrap()).collect();
    let dir = words.next().unwrap().to_owned();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let address: SocketAddr = ([127, 0, 0, 1], ports[member]).into();
        let transport = Arc::new(TcpTransport::bind(&[address]).await.unwrap());
        let initial = ports.iter().enumerate().map(|(member, port)| InitialMember {
            name: format!("m{member}"),
            peer_urls: vec![format!("http://127.0.0.1:{port}")],
        });
        let cluster = Some(ClusterConfig::new(format!("m{member}"), initial, transport));
        let config = Config { dir: dir.into(), cluster, disk_reserve_bytes: 0, ..Config::default() };
        let store = Store::open(config).await.unwrap();
        for line in std::io::stdin().lines() {
            let line = line.unwrap();
            let answer = answer(&store, &line).await;
            let mut out = std::io::stdout().lock();
            writeln!(out, "= {answer}").unwrap();
            out.flush().unwrap();
        }
    });
}

async fn answer(store: &Store, command: &str) -> String {
    match command.split_once(' ') {
        Some(("put", key)) => match store.put(key.to_owned(), "v").await {
            Ok(_) => "ok".into(),
            Err(error) => error.to_string(),
        },
        _ if command == "ready" => match store.ready().await {
            Ok(()) => "ok".into(),
            Err(error) => error.to_string(),
        },
        _ if command == "leads" => store.leadership().borrow().is_leader.to_string(),
        _ => match store.range(RangeRequest { count_only: true, ..RangeRequest::all() }).await {
            Ok(found) => found.count.to_string(),
            Err(error) => error.to_string(),
        },
    }
}
