//! The one who changes the members of a cluster while it runs: adds learners and voters, promotes, removes, replaces machines that are lost
//! for good. It goes by what the cluster says, as a careful operator does: a machine is given up only once its member is gone from the
//! list, and one that still counts is lost only while a majority of the others keeps its data.
use std::collections::BTreeSet;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::clients::Clients;
use super::net::HostId;
use super::protocol::{Ask, MemberOf, Reply};

/// A change waits until it is committed; those before it may have to be.
const PATIENCE: Duration = Duration::from_secs(8);
/// After an answer that told nothing.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// What the world is to do with its machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Start a member that was added on a machine without data.
    Join(HostId),
    /// Switch a machine off and throw its data away.
    GiveUp(HostId),
}

impl Clients {
    /// Changes the members until it is told to stop; then it lets the machines follow what the cluster has in the end.
    pub async fn operate(self, initial: usize, seed: u64) {
        let mut operator = Operator {
            rng: StdRng::seed_from_u64(seed),
            running: (0..initial).collect(),
            initial,
            clients: self,
            is_sure: true,
        };
        operator.work().await;
    }
}

struct Operator {
    clients: Clients,
    rng: StdRng,
    /// The machines that run a member, or should.
    running: BTreeSet<HostId>,
    initial: usize,
    /// Every change was answered: none can still take effect later.
    is_sure: bool,
}

impl Operator {
    async fn work(&mut self) {
        loop {
            let stops = self.clients.stopped();
            if !stops {
                let pause = Duration::from_millis(self.rng.random_range(200..2500));
                tokio::time::sleep(pause).await;
            }
            let Some(members) = self.list().await else {
                tokio::time::sleep(LOOK_AGAIN).await;
                continue;
            };
            if self.follow(&members) {
                continue;
            }
            if stops {
                let running = self.running.clone();
                self.clients.recorder.note(|notes| notes.settled = Some(running));
                return;
            }
            self.change(&members).await;
        }
    }

    fn order(&self, order: Order) {
        self.clients.recorder.note(|notes| notes.orders.push(order));
    }

    async fn ask(&mut self, ask: Ask) -> Option<Reply> {
        let at = self.rng.random_range(0..self.running.len());
        let member = self.running.iter().copied().nth(at)?;
        self.clients.wire.ask(member, ask, PATIENCE).await
    }

    /// The members that are committed.
    async fn list(&mut self) -> Option<Vec<MemberOf>> {
        match self.ask(Ask::Members).await? {
            Reply::Members(members) => Some(members),
            _ => None,
        }
    }

    /// Starts what should run and gives up what should not. Whether there was anything to do.
    fn follow(&mut self, members: &[MemberOf]) -> bool {
        let wanted: BTreeSet<HostId> = members.iter().map(|member| member.host).collect();
        let mut did = false;
        for host in wanted.difference(&self.running) {
            self.order(Order::Join(*host));
            did = true;
        }
        for host in self.running.difference(&wanted) {
            self.order(Order::GiveUp(*host));
            did = true;
        }
        self.running = wanted;
        did
    }

    async fn change(&mut self, members: &[MemberOf]) {
        let learner = members.iter().find(|member| member.is_learner).copied();
        let voters: Vec<MemberOf> = members.iter().filter(|member| !member.is_learner).copied().collect();
        let ask = if let Some(learner) = learner.filter(|_| self.rng.random_bool(0.7)) {
            if self.rng.random_bool(0.8) { Ask::Promote(learner.id) } else { Ask::Remove(learner.id) }
        } else if voters.len() > self.initial || self.rng.random_bool(0.3) {
            let gone = voters[self.rng.random_range(0..voters.len())];
            if voters.len() > 2 && self.is_sure && self.rng.random_bool(0.3) {
                // Its machine burns first.
                self.order(Order::GiveUp(gone.host));
                self.running.remove(&gone.host);
                return self.replace(gone).await;
            }
            if voters.len() < 3 {
                return;
            }
            Ask::Remove(gone.id)
        } else {
            let free = (0..self.clients.members).find(|host| !self.running.contains(host));
            let Some(host) = free else { return };
            Ask::Add { host, learner: self.rng.random_bool(0.5) }
        };
        self.carry_out(ask).await;
    }

    async fn carry_out(&mut self, ask: Ask) -> bool {
        let name = format!("{ask:?}");
        let reply = self.ask(ask).await;
        let at = self.clients.now();
        self.clients.recorder.log(at, format!("{name}: {reply:?}"));
        self.is_sure &= matches!(reply, Some(Reply::Done | Reply::Refused(_)));
        matches!(reply, Some(Reply::Done))
    }

    /// Removes a member whose machine is lost. It is asked for until it is so: with one machine lost for good, another must not be.
    async fn replace(&mut self, gone: MemberOf) {
        loop {
            self.carry_out(Ask::Remove(gone.id)).await;
            match self.list().await {
                Some(members) if members.iter().all(|member| member.id != gone.id) => return,
                Some(_) | None => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }
}
