//! How long writes stop when the leader's process ends, killed or in good order, with timers as they are by default; and that a machine
//! with too much to do elects nobody.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mainstay_proto_wire::etcd::etcdserverpb as pb;
use pb::kv_client::KvClient;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::clients::{Clients, Journal};
use crate::machine::{MEMBERS, Machine, urls};
use crate::{judge, on_machine};

const KILLS: usize = 20;
/// Every member twice.
const RESTARTS: usize = 2 * MEMBERS;
/// What a call may take until it is tried on another member.
const CALL_MAX: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(3);

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
fn a_killed_leader_is_replaced_in_half_a_second() {
    on_machine(async |machine: &mut Machine| {
        let clients = Clients::start(machine);
        clients.journal.writes_for(Duration::from_secs(1)).await;
        let mut gaps = Vec::new();
        for _ in 0..KILLS {
            let leader = machine.leader().await;
            let killed = Instant::now();
            machine.kill(leader);
            clients.journal.writes_for(Duration::from_millis(1200)).await;
            gaps.push(clients.journal.longest_gap(killed, Instant::now()));
            machine.start(leader);
            machine.healthy(leader).await;
        }
        println!("without writes after SIGKILL of the leader: {gaps:?}");
        let (median, worst) = (median(&mut gaps), gaps[KILLS - 1]);
        println!("SIGKILL of the leader, {KILLS} times: median {median:?}, worst {worst:?}");
        assert!(median < Duration::from_millis(500), "median {median:?}");
        assert!(worst < Duration::from_millis(1000), "worst {worst:?}");
        let finished = clients.finish().await;
        let history = machine.history().await;
        judge::calls(&finished.calls, &history);
        judge::watchers(&finished.watchers, &history);
    });
}

/// One that writes to a member until that fails, and goes on with the next: how many writes there were, and how many were tried again.
async fn write(
    channels: Vec<Channel>,
    first: usize,
    journal: Rc<Journal>,
    stop: CancellationToken,
) -> (u64, u64) {
    let mut clients: Vec<KvClient<Channel>> = channels.into_iter().map(KvClient::new).collect();
    let (mut member, mut written, mut again) = (first, 0, 0);
    while !stop.is_cancelled() {
        let put = pb::PutRequest {
            key: format!("w/{first}").into(),
            value: written.to_string().into(),
            ..Default::default()
        };
        if let Err(failed) = clients[member].put(put.clone()).await {
            again += 1;
            member = (member + 1) % MEMBERS;
            let second = clients[member].put(put).await;
            assert!(second.is_ok(), "write {written} failed twice: {failed}; then {second:?}");
        }
        written += 1;
        journal.acknowledge(Instant::now());
        tokio::time::sleep(PAUSE).await;
    }
    (written, again)
}

/// Two of them at every member.
struct Writers {
    journal: Rc<Journal>,
    stop: CancellationToken,
    writing: Vec<JoinHandle<(u64, u64)>>,
}

impl Writers {
    fn start(machine: &Machine) -> Self {
        let journal = Rc::new(Journal::default());
        let stop = CancellationToken::new();
        let mut writing = Vec::new();
        for first in 0..2 * MEMBERS {
            let channels = urls().iter().map(|url| machine.tls.connect_later(url, CALL_MAX)).collect();
            let write = write(channels, first % MEMBERS, Rc::clone(&journal), stop.clone());
            writing.push(tokio::task::spawn_local(write));
        }
        Self { journal, stop, writing }
    }

    /// How many writes there were, and how many were tried again.
    async fn finish(self) -> (u64, u64) {
        self.stop.cancel();
        let (mut written, mut again) = (0, 0);
        for writer in self.writing {
            let done = writer.await.unwrap();
            (written, again) = (written + done.0, again + done.1);
        }
        (written, again)
    }
}

#[test]
fn a_rolling_restart_is_hardly_noticed() {
    on_machine(async |machine: &mut Machine| {
        let writers = Writers::start(machine);
        let journal = Rc::clone(&writers.journal);
        journal.writes_for(Duration::from_secs(1)).await;
        let mut gaps = Vec::new();
        for restart in 0..RESTARTS {
            // The leader each time: restarts of others stop no write.
            let member = if restart % 3 == 2 { machine.follower().await } else { machine.leader().await };
            let from = Instant::now();
            machine.terminate(member).await;
            machine.start(member);
            machine.healthy(member).await;
            journal.writes_for(Duration::from_millis(300)).await;
            gaps.push(journal.longest_gap(from, Instant::now()));
        }
        let (written, again) = writers.finish().await;
        println!("{written} writes, {again} of them tried once more; without writes for {gaps:?}");
        let (median, worst) = (median(&mut gaps), gaps[RESTARTS - 1]);
        println!("rolling restart: median gap {median:?}, worst {worst:?}");
        // On a quiet machine it is a few times less; that a debug build shares two cores with other tests is no reason to fail.
        assert!(median < Duration::from_millis(250), "median {median:?}");
    });
}

/// Threads that do nothing but take the machine's cores, until this is dropped.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn start(threads: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        for _ in 0..threads {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || while !stop.load(Ordering::Relaxed) {});
        }
        Self(stop)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Half an hour is for figures: `MAINSTAY_SOAK_SECONDS=1800`.
const SOAK: Duration = Duration::from_secs(10);

#[test]
fn a_loaded_machine_elects_nobody() {
    let soak = match std::env::var("MAINSTAY_SOAK_SECONDS") {
        Ok(seconds) => Duration::from_secs(seconds.parse().unwrap()),
        Err(_) => SOAK,
    };
    on_machine(async |machine: &mut Machine| {
        let writers = Writers::start(machine);
        writers.journal.writes_for(Duration::from_secs(1)).await;
        let before = machine.reign().await;
        let busy = Busy::start(2 * std::thread::available_parallelism().unwrap().get());
        let from = Instant::now();
        writers.journal.writes_for(soak).await;
        let gap = writers.journal.longest_gap(from, Instant::now());
        drop(busy);
        let after = machine.reign().await;
        let (written, again) = writers.finish().await;
        println!(
            "{soak:?} with every core busy twice: {written} writes, {again} of them tried once more, the longest time without one {gap:?}; \
             leader and term {before:?}, then {after:?}"
        );
        assert_eq!(before, after, "a leader that nothing was wrong with was replaced");
    });
}
