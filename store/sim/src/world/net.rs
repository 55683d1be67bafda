//! The network between hosts: parcels that arrive late, never, or not while a link is cut.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// What waits on a channel over a cut link is tried again after this.
const RESEND: Duration = Duration::from_millis(200);

/// A host by number: members first, the clients' machine last.
pub type HostId = usize;

/// What happens on the receiving host. `H` is what that host offers.
pub type Arrival<H> = Box<dyn FnOnce(&H) + Send>;

struct Parcel<H> {
    from: HostId,
    to: HostId,
    /// The channel whose order it keeps.
    channel: Option<u64>,
    arrival: Arrival<H>,
}

struct Channel {
    rng: StdRng,
    /// When the last parcel arrives.
    last: Duration,
    sent: u64,
}

struct State<H> {
    rng: StdRng,
    now: Duration,
    next: u64,
    /// By time of arrival, then by channel, then by number. Channels have their own delays and numbers: what is sent on one when its process
    /// is dropped does not depend on what else is dropped with it, in which order.
    parcels: BTreeMap<(Duration, u64, u64), Parcel<H>>,
    channels: BTreeMap<u64, Channel>,
    cut: BTreeSet<(HostId, HostId)>,
    muted: BTreeSet<HostId>,
    loss: f64,
    delay: (Duration, Duration),
    carried: u64,
    dropped: u64,
}

impl<H> State<H> {
    /// Lets all that is on its way on these channels wait at least until then: nothing overtakes what a cut link holds up.
    fn hold(&mut self, channels: &BTreeSet<u64>, until: Duration) {
        for number in channels {
            if let Some(channel) = self.channels.get_mut(number) {
                channel.last = channel.last.max(until);
            }
        }
        let early = |(key, parcel): (&(Duration, u64, u64), &Parcel<H>)| {
            let is_held = parcel.channel.is_some_and(|channel| channels.contains(&channel));
            (is_held && key.0 < until).then_some(*key)
        };
        let early: Vec<_> = self.parcels.iter().filter_map(early).collect();
        for key in early {
            if let Some(parcel) = self.parcels.remove(&key) {
                self.parcels.insert((until, key.1, key.2), parcel);
            }
        }
    }
}

/// The network. Clones are one network.
pub struct Net<H> {
    state: Arc<Mutex<State<H>>>,
}

impl<H> Clone for Net<H> {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state) }
    }
}

impl<H> std::fmt::Debug for Net<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Net").finish_non_exhaustive()
    }
}

impl<H> Net<H> {
    /// A network without mishaps, whose delays lie between two bounds. The lower one is at least the step of the simulation: what is sent in a step
    /// arrives in a later one, whatever the order of the hosts.
    pub fn new(seed: u64, delay: (Duration, Duration)) -> Self {
        let state = State {
            rng: StdRng::seed_from_u64(seed),
            now: Duration::ZERO,
            next: 0,
            parcels: BTreeMap::new(),
            channels: BTreeMap::new(),
            cut: BTreeSet::new(),
            muted: BTreeSet::new(),
            loss: 0.0,
            delay,
            carried: 0,
            dropped: 0,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Sends something. It may overtake what was sent before.
    pub fn send(&self, from: HostId, to: HostId, arrival: Arrival<H>) {
        self.put(from, to, None, arrival);
    }

    /// Sends something on a channel whose parcels keep their order. A channel does not lose single parcels: a cut link holds them up.
    pub fn send_in_order(&self, from: HostId, to: HostId, channel: u64, arrival: Arrival<H>) {
        self.put(from, to, Some(channel), arrival);
    }

    fn put(&self, from: HostId, to: HostId, channel: Option<u64>, arrival: Arrival<H>) {
        let mut state = self.state.lock();
        if state.muted.contains(&from) {
            return;
        }
        let (low, high) = state.delay;
        let draw = |rng: &mut StdRng| if low < high { rng.random_range(low..high) } else { low };
        let now = state.now;
        let key = if let Some(number) = channel {
            let Some(channel) = state.channels.get_mut(&number) else { return };
            channel.last = channel.last.max(now + draw(&mut channel.rng));
            channel.sent += 1;
            (channel.last, number, channel.sent)
        } else {
            let delay = draw(&mut state.rng);
            let loss = state.loss;
            if from != to && loss > 0.0 && state.rng.random_bool(loss) {
                state.dropped += 1;
                return;
            }
            state.next += 1;
            (now + delay, 0, state.next)
        };
        state.parcels.insert(key, Parcel { from, to, channel, arrival });
    }

    /// A new number for a channel.
    pub fn new_channel(&self) -> u64 {
        let mut state = self.state.lock();
        state.next += 1;
        let (number, seed) = (state.next, state.rng.random());
        let channel = Channel { rng: StdRng::seed_from_u64(seed), last: Duration::ZERO, sent: 0 };
        state.channels.insert(number, channel);
        number
    }

    /// Takes what arrives at a host by now. What comes over a cut link is lost, or, on a channel, sent again later.
    pub fn arrivals(&self, to: HostId) -> Vec<Arrival<H>> {
        let mut state = self.state.lock();
        let now = state.now;
        let due: Vec<(Duration, u64, u64)> = state
            .parcels
            .range(..=(now, u64::MAX, u64::MAX))
            .filter(|(_, parcel)| parcel.to == to)
            .map(|(key, _)| *key)
            .collect();
        let mut arrived = Vec::with_capacity(due.len());
        let mut lost = Vec::new();
        let mut held = BTreeSet::new();
        for key in due {
            let Some(parcel) = state.parcels.remove(&key) else { continue };
            if !state.cut.contains(&(parcel.from, parcel.to)) {
                state.carried += 1;
                arrived.push(parcel.arrival);
            } else if let Some(channel) = parcel.channel {
                held.insert(channel);
                state.parcels.insert((now + RESEND, key.1, key.2), parcel);
            } else {
                state.dropped += 1;
                lost.push(parcel);
            }
        }
        state.hold(&held, now + RESEND);
        drop(state);
        drop(lost); // after the lock: an end of a link that is lost says so on the network
        arrived
    }

    /// Moves the clock of the network.
    pub fn set_now(&self, now: Duration) {
        self.state.lock().now = now;
    }

    /// Loses what is on its way to a host that crashed.
    pub fn forget(&self, to: HostId) {
        let mut lost = Vec::new();
        {
            let mut state = self.state.lock();
            let keys: Vec<_> =
                state.parcels.iter().filter(|(_, parcel)| parcel.to == to).map(|(key, _)| *key).collect();
            lost.extend(keys.iter().filter_map(|key| state.parcels.remove(key)));
        }
        drop(lost); // after the lock: an end of a link that is lost says so on the network
    }

    /// Takes nothing more from a host, or takes it again: what a machine without power cannot say.
    pub fn mute(&self, host: HostId, is_mute: bool) {
        let mut state = self.state.lock();
        if is_mute {
            state.muted.insert(host);
        } else {
            state.muted.remove(&host);
        }
    }

    /// Cuts the way from one host to another, not the way back.
    pub fn cut(&self, from: HostId, to: HostId) {
        self.state.lock().cut.insert((from, to));
    }

    /// Mends everything: no cuts, no loss.
    pub fn heal(&self) {
        let mut state = self.state.lock();
        state.cut.clear();
        state.loss = 0.0;
    }

    /// Loses this part of all parcels that are not on channels.
    pub fn set_loss(&self, loss: f64) {
        self.state.lock().loss = loss;
    }

    /// The bounds of delays from now on.
    pub fn set_delay(&self, delay: (Duration, Duration)) {
        self.state.lock().delay = delay;
    }

    /// Parcels carried and dropped.
    pub fn counts(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.carried, state.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// The link is cut while the first of two parcels is due, and whole again when the second is.
    #[test]
    fn what_a_cut_link_holds_up_is_not_overtaken() {
        let net: Net<()> = Net::new(1, (2 * MS, 2 * MS));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let channel = net.new_channel();
        let send = |what: u32| {
            let seen = Arc::clone(&seen);
            net.send_in_order(0, 1, channel, Box::new(move |()| seen.lock().push(what)));
        };
        send(1);
        net.set_now(MS);
        send(2);
        net.cut(0, 1);
        for now in 2..400 {
            net.set_now(now * MS);
            net.arrivals(1).into_iter().for_each(|arrival| arrival(&()));
            net.heal();
        }
        assert_eq!(*seen.lock(), [1, 2]);
    }
}
