//! What goes wrong in a run, and when. One thing begins now and then; each ends after a while, or at the end of the faults.
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::net::HostId;

/// Something that goes wrong. Members are numbered from 0.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// The machine loses its power, and comes back later.
    PowerCut(HostId),
    /// The process is killed, and started again later.
    Kill(HostId),
    /// The store is closed in good order, and opened again.
    Restart(HostId),
    /// The process stands still (SIGSTOP).
    Pause(HostId),
    /// The clock goes faster or slower.
    Drift(HostId, f64),
    /// The disk is full.
    FullDisk(HostId),
    /// The next sync fails.
    BadSync(HostId),
    /// Syncs take long.
    SlowDisk(HostId, Duration),
    /// Nothing goes from one member to another; the way back is open.
    OneWay(HostId, HostId),
    /// A member hears nobody and nobody hears it.
    Isolate(HostId),
    /// The leader is asked to hand over to this member.
    MoveLeader(HostId),
    /// Parcels get lost.
    Loss(f64),
    /// Parcels take long, and overtake each other.
    Delay(Duration),
}

/// How often things go wrong, and how badly.
#[derive(Clone, Copy, Debug)]
pub struct Mood {
    /// The mean time between faults.
    pub between: Duration,
    /// The longest that a fault lasts.
    pub longest: Duration,
    /// Whether clocks drift.
    pub drifts: bool,
    /// How much clocks drift at most.
    pub drift_max: f64,
}

impl Mood {
    /// Some runs are rough, some nearly calm.
    pub fn draw(rng: &mut StdRng) -> Self {
        Self {
            between: Duration::from_millis(rng.random_range(700..5000)),
            longest: Duration::from_millis(rng.random_range(500..6000)),
            drifts: rng.random_bool(0.3),
            drift_max: 0.02,
        }
    }

    /// How long until the next fault.
    pub fn wait(&self, rng: &mut StdRng) -> Duration {
        self.between.mul_f64(rng.random_range(0.2..1.8))
    }

    /// How long a fault lasts.
    pub fn length(&self, rng: &mut StdRng) -> Duration {
        self.longest.mul_f64(rng.random_range(0.05..1.0))
    }

    /// The next fault in a cluster of so many members.
    pub fn next(&self, rng: &mut StdRng, members: usize) -> Fault {
        let member = rng.random_range(0..members);
        let alone = members == 1;
        match rng.random_range(0..if alone { 70 } else { 100 }) {
            0..16 => Fault::PowerCut(member),
            16..26 => Fault::Kill(member),
            26..30 => Fault::Restart(member),
            30..42 => Fault::Pause(member),
            42..50 => Fault::FullDisk(member),
            50..55 => Fault::BadSync(member),
            55..65 => Fault::SlowDisk(member, Duration::from_millis(rng.random_range(10..400))),
            65..70 if self.drifts => {
                Fault::Drift(member, 1.0 + rng.random_range(-self.drift_max..self.drift_max))
            }
            65..75 => Fault::Loss(rng.random_range(0.01..0.3)),
            75..80 => Fault::Delay(Duration::from_millis(rng.random_range(20..300))),
            80..88 => Fault::Isolate(member),
            88..92 => Fault::MoveLeader(member),
            _ => Fault::OneWay(member, (member + rng.random_range(1..members)) % members),
        }
    }
}
