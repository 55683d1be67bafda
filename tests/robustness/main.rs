//! Three members as real processes with TLS, each in a network namespace of its own, while clients write, read and watch and things go
//! wrong. In the end no acknowledged write is missing, reads and writes are linearizable, every watcher saw every event once and in order,
//! and all members hold the same.
//!
//! Needs root, iproute2 and nftables. What it makes is named after its process and removed when it ends, also when it fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]
#![allow(clippy::print_stdout, reason = "what was measured is printed")]
#![allow(clippy::disallowed_methods, reason = "clients measure real time, and are joined at the end")]

mod clients;
mod failover;
mod judge;
mod machine;
mod member;
mod network;

use std::time::{Duration, Instant};

use clients::{Clients, Journal};
use machine::{MEMBERS, Machine};

/// The longest wait for anything that should happen.
const SOON: Duration = Duration::from_secs(30);

/// What goes wrong, one after the other. Returns when it is over and the cluster is whole again.
async fn faults(machine: &mut Machine, journal: &Journal) {
    type Fault = (&'static str, Duration);
    let mut report: Vec<(Fault, Duration)> = Vec::new();
    let mut note = |name: &'static str, bound: Duration, from: Instant| {
        let gap = journal.longest_gap(from, Instant::now());
        println!("{name}: the longest time without an acknowledged write was {} ms", gap.as_millis());
        report.push(((name, bound), gap));
    };
    journal.writes_for(Duration::from_secs(1)).await;

    let leader = machine.leader().await;
    let from = Instant::now();
    machine.kill(leader);
    journal.writes_for(Duration::from_secs(2)).await;
    machine.start(leader);
    machine.healthy(leader).await;
    note("SIGKILL of the leader", Duration::from_secs(3), from);

    let leader = machine.leader().await;
    let from = Instant::now();
    machine.freeze(leader);
    journal.writes_for(Duration::from_secs(3)).await;
    machine.thaw(leader);
    machine.healthy(leader).await;
    note("SIGSTOP of the leader for some seconds", Duration::from_secs(5), from);

    let leader = machine.leader().await;
    let from = Instant::now();
    machine.cut(leader, network::Cut::Both);
    journal.writes_for(Duration::from_secs(3)).await;
    note("the leader cut off from the others", Duration::from_secs(5), from);
    let healed = Instant::now();
    machine.heal(leader);
    machine.healthy(leader).await;
    journal.writes_for(Duration::from_secs(1)).await;
    note("healed", Duration::from_secs(2), healed);

    let follower = machine.follower().await;
    let from = Instant::now();
    machine.cut(follower, network::Cut::Both);
    journal.writes_for(Duration::from_secs(3)).await;
    machine.heal(follower);
    machine.healthy(follower).await;
    note("a follower cut off and back", Duration::from_secs(2), from);

    let leader = machine.leader().await;
    let from = Instant::now();
    machine.cut(leader, network::Cut::Outgoing);
    journal.writes_for(Duration::from_secs(3)).await;
    machine.heal(leader);
    machine.healthy(leader).await;
    note("the leader heard by nobody, but hearing", Duration::from_secs(5), from);

    let leader = machine.leader().await;
    let from = Instant::now();
    machine.fill_disk(leader);
    journal.writes_for(Duration::from_secs(3)).await;
    machine.healthy_to_read(leader).await;
    assert_ne!(machine.leader().await, leader, "one that has room leads");
    machine.free_disk(leader);
    machine.healthy(leader).await;
    note("a full disk on the leader", Duration::from_secs(5), from);

    let follower = machine.follower().await;
    let from = Instant::now();
    machine.replace(follower).await;
    journal.writes_for(Duration::from_secs(1)).await;
    note("a member replaced by a new one", Duration::from_secs(3), from);
    for ((name, bound), gap) in report {
        assert!(gap < bound, "{name}: {gap:?} without a write, more than {bound:?}");
    }
}

/// Runs three members, and then something with them on one thread.
fn on_machine(work: impl AsyncFnOnce(&mut Machine)) {
    assert!(rustix::process::geteuid().is_root(), "this test needs root: it makes network namespaces");
    let mut machine = Machine::new();
    machine.enter_client_namespace();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let started = Instant::now();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        for member in 0..MEMBERS {
            machine.start(member);
        }
        for member in 0..MEMBERS {
            machine.healthy(member).await;
        }
        work(&mut machine).await;
    });
    println!("in {:?}", started.elapsed());
}

#[test]
fn what_was_acknowledged_survives_whatever_goes_wrong() {
    on_machine(async |machine: &mut Machine| {
        let clients = Clients::start(machine);
        faults(machine, &clients.journal).await;
        let finished = clients.finish().await;
        let history = machine.history().await;
        println!(
            "{} revisions; {} calls, {} of them acknowledged; {} watchers",
            history.revision(),
            finished.calls.len(),
            finished.calls.iter().filter(|call| call.revision.is_some()).count(),
            finished.watchers.len()
        );
        judge::calls(&finished.calls, &history);
        judge::watchers(&finished.watchers, &history);
        machine.hashes_are_equal(history.revision()).await;
    });
}
