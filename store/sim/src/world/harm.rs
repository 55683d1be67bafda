//! How things go wrong.
use std::time::Duration;

use rand::Rng;

use super::disk::SimDisk;
use super::faults::Fault;
use super::host::{Desk, Host};
use super::net::HostId;
use super::operator::Order;
use super::run::{Event, STEP, World};

impl World {
    /// Ends a process; it is back after a while.
    pub(super) fn lose(&mut self, member: HostId, power: bool, back_in: Duration) {
        if !self.hosts[member].is_up() {
            return;
        }
        if power {
            self.net.mute(member, true);
            self.hosts[member].crash();
            self.net.mute(member, false);
        } else {
            self.hosts[member].kill();
        }
        self.net.forget(member);
        self.down += back_in;
        self.agenda.push((self.now + back_in, Event::Start(member)));
    }

    /// Does what the operator wants.
    pub(super) fn obey(&mut self, order: Order) {
        self.recorder.log(self.now, format!("{order:?}"));
        let name = match order {
            Order::Join(host) => {
                self.active.insert(host);
                self.joined.insert(host);
                self.start(host);
                "member joined"
            }
            Order::GiveUp(host) => {
                self.active.remove(&host);
                self.net.mute(host, true);
                let disk = SimDisk::new(self.rng.random());
                if let Err(error) = self.hosts[host].replace(disk) {
                    self.problems.push(format!("machine {host} was not replaced: {error}"));
                }
                self.net.mute(host, false);
                self.net.forget(host);
                "machine given up"
            }
        };
        *self.faults.entry(name).or_default() += 1;
    }

    /// Whether the members are what they should be in the end.
    pub(super) fn is_settled(&self) -> bool {
        let settled = self.recorder.note(|notes| notes.settled.clone());
        self.plan.spares == 0 || settled.is_some_and(|settled| settled == self.active)
    }

    /// Closes a store in good order; its process ends when that is done.
    fn close(&mut self, member: HostId) {
        let Some(desk) = self.hosts[member].desk().cloned() else { return };
        let Some(store) = desk.store().filter(|_| !desk.is_closing()) else { return };
        desk.begin_closing();
        let (recorder, now) = (self.recorder.clone(), self.now);
        self.hosts[member].spawn(async move {
            if let Err(error) = store.close().await {
                recorder.log(now, format!("member {member} did not close well: {error}"));
            }
            desk.end_closing();
        });
    }

    pub(super) fn inject(&mut self, fault: &Fault, length: Duration) {
        let later = self.now + length;
        self.recorder.log(self.now, format!("{fault:?} for {length:?}"));
        let name = match *fault {
            Fault::PowerCut(member) => {
                self.lose(member, true, length / 2);
                "power cut"
            }
            Fault::Kill(member) => {
                self.lose(member, false, length / 4);
                "kill"
            }
            Fault::Restart(member) => {
                self.close(member);
                "restart"
            }
            Fault::Pause(member) => {
                self.hosts[member].pause(later);
                self.down += length;
                "pause"
            }
            Fault::Drift(member, rate) => {
                self.hosts[member].set_rate(self.now, rate);
                self.agenda.push((later, Event::ClockIsRight(member)));
                "drift"
            }
            Fault::FullDisk(member) => {
                self.hosts[member].disk.set_full(true);
                self.down += length;
                self.agenda.push((later, Event::SpaceIsBack(member)));
                "full disk"
            }
            Fault::BadSync(member) => {
                self.hosts[member].disk.fail_next_sync();
                "failed sync"
            }
            Fault::SlowDisk(member, delay) => {
                self.hosts[member].disk.set_sync_delay_max(delay);
                self.agenda.push((later, Event::SpeedIsBack(member)));
                "slow disk"
            }
            ref of_network => self.harm_network(of_network, length),
        };
        *self.faults.entry(name).or_default() += 1;
    }

    /// Asks whoever leads to hand over.
    fn move_leader(&mut self, to: HostId) {
        let store_of = |host: &Host| host.desk().and_then(Desk::store);
        let Some(target) = store_of(&self.hosts[to]).map(|store| store.member_id()) else { return };
        let now = self.now;
        for host in &self.hosts {
            let leading = store_of(host).filter(|store| store.leadership().borrow().is_leader);
            let Some(store) = leading else { continue };
            let recorder = self.recorder.clone();
            host.spawn(async move {
                let moved = store.move_leader(target).await;
                recorder.log(now, format!("handing over to member {to}: {moved:?}"));
            });
        }
    }

    fn harm_network(&mut self, fault: &Fault, length: Duration) -> &'static str {
        self.down += length;
        self.agenda.push((self.now + length, Event::NetworkIsWhole));
        match *fault {
            Fault::OneWay(from, to) => {
                self.net.cut(from, to);
                "one-way partition"
            }
            Fault::Isolate(member) => {
                for other in (0..self.hosts.len()).filter(|other| *other != member) {
                    self.net.cut(member, other);
                    self.net.cut(other, member);
                }
                "partition"
            }
            Fault::MoveLeader(to) => {
                self.move_leader(to);
                "leader transfer"
            }
            Fault::Loss(loss) => {
                self.net.set_loss(loss);
                "loss"
            }
            Fault::Delay(delay) => {
                self.net.set_delay((STEP, delay));
                "delay"
            }
            _ => "nothing",
        }
    }
}
