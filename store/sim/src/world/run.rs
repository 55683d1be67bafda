//! One run: a cluster, its clients, what goes wrong, and the verdict. The same plan gives the same run.
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mainstay_store::{ClusterConfig, Config, InitialMember, InitialState, Revision, SeededBug};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;
use tokio::time::Instant;

use super::clients::Clients;
use super::disk::SimDisk;
use super::faults::{Fault, Mood};
use super::host::{Desk, Host};
use super::net::{HostId, Net};
use super::panics;
use super::peers::{SimTransport, peer_url};
use super::protocol::Wire;
use super::record::Recorder;
use crate::check::{Archive, MemberView, Members, check_members};

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Everything follows from it.
    pub seed: u64,
    /// The size of the cluster.
    pub members: usize,
    /// So many more machines can become members; none if the members stay the same.
    pub spares: usize,
    /// How long things go wrong, by the clock of the simulation.
    pub faults_for: Duration,
    /// A mistake in the store that the run should notice.
    pub bug: Option<SeededBug>,
    /// What goes wrong, in order, in the place of what the seed would draw: when it begins after the start, what, and for how long.
    pub script: Option<&'static [(Duration, Fault, Duration)]>,
}

/// What a run found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The plan.
    pub plan: Plan,
    /// How long it was by the clock of the simulation.
    pub simulated: Duration,
    /// What is wrong; empty if all is well.
    pub problems: Vec<String>,
    /// Calls of clients, and how many of them were answered.
    pub calls: (usize, usize),
    /// Watches that ended, and the batches that they delivered.
    pub watches: (usize, usize),
    /// The last revision.
    pub revision: Revision,
    /// Groups of keys whose linearizability was not settled.
    pub unsettled: usize,
    /// Faults by name.
    pub faults: BTreeMap<&'static str, usize>,
    /// What happened, in order.
    pub trace: Vec<String>,
    /// Every call and watch with its answers and times, as text.
    pub details: Vec<String>,
    /// A number that differs between different runs.
    pub fingerprint: u64,
}

/// One step of the clock: what is sent in a step arrives in a later one.
pub(super) const STEP: Duration = Duration::from_millis(2);
/// Syncs take up to this long on a good day.
const SYNC_MAX: Duration = Duration::from_millis(5);
const WRITERS: usize = 6;
const OWNERS: usize = 2;
const WATCHERS: usize = 5;
/// The network without mishaps.
const CALM: (Duration, Duration) = (STEP, Duration::from_millis(6));
/// After the faults, a cluster must be whole again within this.
const RECOVERY_MAX: Duration = Duration::from_secs(60);
/// Clients go on for so long after the faults.
const CALM_FOR: Duration = Duration::from_secs(3);
/// Nothing new for so long: longer than any lease or call lasts.
const QUIET: Duration = Duration::from_secs(12);
/// All calls have ended by then: the longest chain of calls that a client makes without looking whether to stop.
const QUIET_MAX: Duration = Duration::from_secs(60);

pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) rng: StdRng,
    pub(super) now: Duration,
    pub(super) net: Net<Desk>,
    pub(super) hosts: Vec<Host>,
    pub(super) clients: Host,
    pub(super) recorder: Recorder,
    pub(super) views: Members,
    pub(super) seen: BTreeMap<i64, Duration>,
    pub(super) newest: Revision,
    /// What begins or ends later.
    pub(super) agenda: Vec<(Duration, Event)>,
    pub(super) leaders: Vec<Duration>,
    pub(super) down: Duration,
    pub(super) faults: BTreeMap<&'static str, usize>,
    pub(super) problems: Vec<String>,
    pub(super) mood: Mood,
    /// So many entries are kept for members that lag.
    pub(super) snapshot_entries: u64,
    pub(super) opened: Vec<u64>,
    /// The machines that run a member, or should.
    pub(super) active: BTreeSet<HostId>,
    /// Those whose member was added to the running cluster.
    pub(super) joined: BTreeSet<HostId>,
    pub(super) dir: TempDir,
}

#[derive(Clone, Debug)]
pub(super) enum Event {
    Start(HostId),
    SpaceIsBack(HostId),
    SpeedIsBack(HostId),
    ClockIsRight(HostId),
    NetworkIsWhole,
}

/// Runs a plan.
///
/// # Panics
/// The simulation itself failed: no temporary directory, no runtime.
#[allow(clippy::expect_used, reason = "a simulation that cannot run has no result")]
pub fn run(plan: Plan) -> Report {
    mainstay_store::seed_randomness(Some(plan.seed));
    mainstay_store::seed_bug(plan.bug);
    panics::begin();
    let mut world = World::new(plan).expect("a directory and runtimes for the simulation");
    world.begin().expect("a runtime for each host");
    world.go_wrong();
    let recovered = world.recover();
    world.end(recovered);
    let mut report = world.judge();
    report.problems.extend(panics::end());
    mainstay_store::seed_bug(None);
    mainstay_store::seed_randomness(None);
    report
}

impl World {
    fn new(plan: Plan) -> std::io::Result<Self> {
        let mut rng = StdRng::seed_from_u64(plan.seed ^ 0x51a1_0000);
        let memory = PathBuf::from("/dev/shm");
        let dir = if memory.is_dir() { TempDir::new_in(memory)? } else { TempDir::new()? };
        let machines = plan.members + plan.spares;
        let hosts = (0..machines)
            .map(|id| Host::new(id, SimDisk::new(rng.random()), dir.path().join(format!("member-{id}"))))
            .collect();
        let clients = Host::new(machines, SimDisk::new(0), dir.path().join("clients"));
        let mood = Mood::draw(&mut rng);
        // A run of 30 seconds writes some 500 entries: often too few are kept for a member that was away.
        let snapshot_entries =
            if rng.random_bool(0.6) { rng.random_range(5..60) } else { rng.random_range(60..400) };
        Ok(Self {
            plan,
            now: Duration::ZERO,
            net: Net::new(rng.random(), CALM),
            hosts,
            clients,
            recorder: Recorder::default(),
            views: Members::default(),
            seen: BTreeMap::new(),
            newest: Revision::INITIAL,
            agenda: Vec::new(),
            leaders: Vec::new(),
            down: Duration::ZERO,
            faults: BTreeMap::new(),
            problems: Vec::new(),
            mood,
            snapshot_entries,
            opened: vec![0; machines],
            active: (0..plan.members).collect(),
            joined: BTreeSet::new(),
            rng,
            dir,
        })
    }

    fn begin(&mut self) -> std::io::Result<()> {
        for member in 0..self.plan.members {
            self.start(member);
        }
        let (net, recorder, plan) = (self.net.clone(), self.recorder.clone(), self.plan);
        let members = self.hosts.len();
        let own = self.clients.id;
        let seeds: Vec<u64> = (0..WRITERS + OWNERS + WATCHERS + 3).map(|_| self.rng.random()).collect();
        let stop = self.recorder.note(|notes| Arc::clone(&notes.stop));
        self.clients.start(self.now, |_desk| async move {
            let began = Instant::now();
            let spawn = tokio::runtime::Handle::current();
            let mut seeds = seeds.into_iter().enumerate();
            // Each client with its seed.
            let mut client_and_seed = || {
                let (client, seed) = seeds.next().unwrap_or_default();
                let wire = Wire::new(net.clone(), own, client);
                let (recorder, stop) = (recorder.clone(), Arc::clone(&stop));
                (Clients { wire, recorder, members, began, stop }, seed)
            };
            let (client, seed) = client_and_seed();
            drop(spawn.spawn(client.archive(seed)));
            let (client, seed) = client_and_seed();
            drop(spawn.spawn(client.compact(seed)));
            for number in 0..WRITERS {
                let (client, seed) = client_and_seed();
                drop(spawn.spawn(client.write_and_read(number, seed)));
            }
            for number in 0..OWNERS {
                let (client, seed) = client_and_seed();
                drop(spawn.spawn(client.own_leases(number, seed)));
            }
            for _ in 0..WATCHERS {
                let (client, seed) = client_and_seed();
                drop(spawn.spawn(client.watch(seed)));
            }
            if plan.spares > 0 {
                let (client, seed) = client_and_seed();
                drop(spawn.spawn(client.operate(plan.members, seed)));
            }
        })
    }

    pub(super) fn start(&mut self, member: HostId) {
        let now = self.now;
        self.hosts[member].disk.set_sync_delay_max(SYNC_MAX);
        let (net, members, snapshot_entries) = (self.net.clone(), self.plan.members, self.snapshot_entries);
        let (state, known) = if self.joined.contains(&member) {
            (InitialState::Existing, self.active.clone())
        } else {
            (InitialState::New, (0..members).collect())
        };
        let join = |config: &mut Config, desk: &Desk| {
            if members > 1 {
                let (transport, listener) = SimTransport::new(net, member);
                desk.listen(listener);
                let initial = known
                    .into_iter()
                    .map(|at| InitialMember { name: format!("member-{at}"), peer_urls: vec![peer_url(at)] });
                let cluster = ClusterConfig::new(format!("member-{member}"), initial, Arc::new(transport));
                config.cluster = Some(ClusterConfig { snapshot_entries, state, ..cluster });
            }
        };
        if let Err(error) = self.hosts[member].start_member(now, join) {
            self.problems.push(format!("member {member} has no runtime: {error}"));
        }
        self.recorder.log(now, format!("member {member} starts"));
    }

    /// One step of every host's clock.
    fn step(&mut self) {
        let until = self.now + STEP;
        self.net.set_now(self.now);
        for event in self.due() {
            self.happen(&event);
        }
        let (net, now, own) = (&self.net, self.now, self.clients.id);
        self.clients.run(now, until, || net.arrivals(own));
        for host in &mut self.hosts {
            let id = host.id;
            host.run(now, until, || net.arrivals(id));
        }
        self.now = until;
        for order in self.recorder.note(|notes| std::mem::take(&mut notes.orders)) {
            self.obey(order);
        }
        self.look();
    }

    pub(super) fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.step();
        }
    }

    fn due(&mut self) -> Vec<Event> {
        let now = self.now;
        let mut due: Vec<(Duration, Event)> = Vec::new();
        self.agenda.retain(|item| {
            let is_due = item.0 <= now;
            due.extend(is_due.then(|| item.clone()));
            !is_due
        });
        due.sort_by_key(|(at, _)| *at);
        due.into_iter().map(|(_, event)| event).collect()
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Start(member) if !self.hosts[member].is_up() && self.active.contains(&member) => {
                self.start(member);
            }
            Event::Start(_) => {}
            Event::SpaceIsBack(member) => self.hosts[member].disk.set_full(false),
            Event::SpeedIsBack(member) => self.hosts[member].disk.set_sync_delay_max(SYNC_MAX),
            Event::ClockIsRight(member) => self.hosts[member].set_rate(self.now, 1.0),
            Event::NetworkIsWhole => {
                self.net.heal();
                self.net.set_delay(CALM);
            }
        }
    }

    /// Looks at every member, as an operator would.
    fn look(&mut self) {
        let now = self.now;
        for member in 0..self.hosts.len() {
            let host = &self.hosts[member];
            if host.is_paused(now) {
                continue;
            }
            let Some(desk) = host.desk().cloned() else { continue };
            if let Some(failure) = desk.failure() {
                if failure.may_pass || (failure.is_of_joining && self.joined.contains(&member)) {
                    self.recorder.log(now, format!("member {member} does not open now: {}", failure.what));
                    self.lose(member, false, Duration::from_millis(500));
                } else {
                    self.problems.push(format!("member {member} does not open: {}", failure.what));
                    self.hosts[member].kill();
                }
                continue;
            }
            if desk.is_closed() {
                self.lose(member, false, Duration::from_millis(100));
                continue;
            }
            if desk.has_stopped() && !desk.is_closing() {
                // Whoever runs it starts it again.
                self.recorder.log(now, format!("member {member} has stopped"));
                self.lose(member, false, Duration::from_millis(200));
                continue;
            }
            let Some(store) = desk.store() else { continue };
            if self.opened[member] != self.hosts[member].incarnation {
                self.opened[member] = self.hosts[member].incarnation;
                self.recorder.log(now, format!("member {member} is open at revision {}", store.revision()));
                if self.plan.members == 1 {
                    self.leaders.push(now);
                }
            }
            let leadership = *store.leadership().borrow();
            let view = MemberView {
                member,
                incarnation: self.hosts[member].incarnation,
                term: leadership.term,
                leads: leadership.is_leader,
                revision: store.revision(),
            };
            if view.leads && self.plan.members > 1 && !self.views.leaders().contains_key(&view.term) {
                self.leaders.push(now);
                self.recorder.log(now, format!("member {member} leads in term {}", view.term));
            }
            if view.revision > self.newest {
                self.newest = view.revision;
                self.seen.insert(self.newest.0, now);
            }
            self.views.look(view);
        }
    }

    /// Lets things go wrong for a while.
    fn go_wrong(&mut self) {
        self.run_for(Duration::from_millis(500));
        let end = self.now + self.plan.faults_for;
        if let Some(script) = self.plan.script {
            for (at, fault, length) in script {
                self.run_for(at.saturating_sub(self.now));
                self.inject(fault, *length);
            }
            return self.run_for(end.saturating_sub(self.now));
        }
        let mut next = self.now + self.mood.wait(&mut self.rng);
        while self.now < end {
            if self.now >= next {
                let fault = self.mood.next(&mut self.rng, self.hosts.len());
                let length = self.mood.length(&mut self.rng);
                self.inject(&fault, length);
                next = self.now + self.mood.wait(&mut self.rng);
            }
            self.step();
        }
    }

    /// Ends all faults and waits until the cluster is whole and writes go through.
    fn recover(&mut self) -> bool {
        self.agenda.retain(|(_, event)| matches!(event, Event::Start(_)));
        for (at, _) in &mut self.agenda {
            *at = self.now;
        }
        self.happen(&Event::NetworkIsWhole);
        for member in 0..self.hosts.len() {
            for event in [Event::SpaceIsBack(member), Event::SpeedIsBack(member), Event::ClockIsRight(member)]
            {
                self.happen(&event);
            }
            if self.hosts[member].is_paused(self.now) {
                self.hosts[member].pause(self.now + STEP);
            }
        }
        let deadline = self.now + RECOVERY_MAX;
        let before = self.newest;
        while self.now < deadline {
            self.step();
            let is_open = |host: &&HostId| self.hosts[**host].desk().and_then(Desk::store).is_some();
            let all_open = self.active.iter().filter(is_open).count() == self.active.len();
            if all_open && self.newest > before {
                self.run_for(CALM_FOR);
                return true;
            }
        }
        self.problems.push(format!(
            "{RECOVERY_MAX:?} after the last fault no write has gone through, or a member is not open"
        ));
        false
    }

    /// Stops the clients, lets the archive catch up, and reads all members.
    fn end(&mut self, recovered: bool) {
        self.recorder.note(|notes| notes.stop.store(true, Ordering::Release));
        if !recovered {
            return;
        }
        let deadline = self.now + QUIET_MAX;
        let mut quiet_since = self.now;
        let mut newest = self.newest;
        while self.now < deadline && (self.now < quiet_since + QUIET || !self.is_settled()) {
            self.step();
            if self.newest > newest {
                newest = self.newest;
                quiet_since = self.now;
            }
        }
        if !self.is_settled() {
            self.problems
                .push(format!("{QUIET_MAX:?} after the end, the members were not what they should be"));
        }
        let contents = self.contents();
        if contents.len() < self.active.len() {
            self.problems.push(format!("only {} members could be read in the end", contents.len()));
        }
        let archived = self.recorder.note(|notes| notes.archived);
        if archived < self.newest {
            self.problems.push(format!(
                "the watch of everything stands at {archived}, the cluster at {}",
                self.newest
            ));
        }
        let archive = self.recorder.note(|notes| Archive::new(&notes.history, self.seen.clone()));
        match archive {
            Ok(archive) => {
                self.problems.extend(check_members(&contents, &archive));
                for (member, revision, _) in &contents {
                    if *revision != self.newest {
                        self.problems
                            .push(format!("member {member} is at {revision}, others at {}", self.newest));
                    }
                }
            }
            Err(problem) => self.problems.push(problem),
        }
    }
}
