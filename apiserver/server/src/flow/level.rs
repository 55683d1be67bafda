//! [`Level`]: the seats of one priority level, and who waits for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::dump_requests::QueueView;
use super::queues::{Layout, Queues};
use super::retry_after::RetryAfter;
use super::roster::{About, Roster};

/// What a level does with a request that finds no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Every request runs.
    Exempt,
    /// It is turned away.
    Reject,
    /// It waits.
    Queue(Layout),
}

/// One priority level. Seats are kept when its configuration changes.
#[derive(Debug)]
pub(super) struct Level {
    kind: Kind,
    /// Seats in all.
    limit: AtomicU64,
    /// Seats that are taken.
    taken: AtomicU64,
    /// Requests that wait; read without the lock by those who leave.
    waiting: AtomicUsize,
    /// The most seats that were asked for at once, by who ran and who waited, since it was last looked at.
    peak: AtomicU64,
    /// What was needed of late, in seats.
    smoothed: Mutex<f64>,
    retry_after: Mutex<RetryAfter>,
    queues: Option<Mutex<Queues<Waiter>>>,
    /// Who runs.
    pub(super) roster: Roster,
}

/// Who asks for seats, in case it has to wait.
pub(super) struct Ticket {
    /// The number of its flow.
    pub(super) flow: u64,
    pub(super) about: Arc<About>,
}

/// Who waits.
#[derive(Debug)]
struct Waiter {
    turn: oneshot::Sender<Hold>,
    about: Arc<About>,
}

/// Seats that a request has taken. Dropping it gives them back, and wakes who is next.
#[derive(Debug)]
pub(super) struct Hold {
    level: Arc<Level>,
    seats: u32,
}

/// What became of a request that asked for seats.
pub(super) enum Offer {
    /// It runs.
    Seats(Hold),
    /// It waits for this.
    Wait(oneshot::Receiver<Hold>),
    /// There is no room even to wait.
    Full,
    /// The level lets nothing wait.
    Refused,
}

impl Level {
    pub(super) fn new(kind: Kind, limit: u64) -> Self {
        let queues = match kind {
            Kind::Queue(layout) => Some(Mutex::new(Queues::new(layout))),
            Kind::Exempt | Kind::Reject => None,
        };
        Self {
            kind,
            limit: AtomicU64::new(limit),
            taken: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            peak: AtomicU64::new(0),
            smoothed: Mutex::new(0.0),
            retry_after: Mutex::default(),
            queues,
            roster: Roster::default(),
        }
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn is_exempt(&self) -> bool {
        self.kind == Kind::Exempt
    }

    /// In how many of its queues somebody waits.
    pub(super) fn active_queues(&self) -> usize {
        self.queues.as_ref().map_or(0, |queues| queues.lock().active())
    }

    /// Its queues as they are now.
    pub(super) fn queue_views(&self) -> Vec<QueueView> {
        let Some(queues) = &self.queues else { return Vec::new() };
        let queues = queues.lock();
        let views = queues.each().map(|(next, seats, waiting)| {
            let here = waiting.filter(|waiter| !waiter.turn.is_closed());
            QueueView { next, seats, waiting: here.map(|waiter| Arc::clone(&waiter.about)).collect() }
        });
        views.collect()
    }

    /// Seats in all, at the moment.
    pub(super) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Seats that are taken now.
    #[cfg(test)]
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Changes the number of seats; who waits and now finds one is woken.
    pub(super) fn set_limit(self: &Arc<Self>, limit: u64) {
        self.limit.store(limit, Ordering::SeqCst);
        self.serve_waiting();
    }

    /// The most seats that were asked for at once since the last call.
    pub(super) fn take_peak(&self) -> u64 {
        // What goes on now is part of the period that begins.
        self.peak.swap(self.taken.load(Ordering::Relaxed), Ordering::Relaxed)
    }

    /// What was needed of late, after a period whose most was `peak`; `kept` is how much of the past stays.
    pub(super) fn smooth(&self, peak: f64, kept: f64) -> f64 {
        let mut smoothed = self.smoothed.lock();
        *smoothed = peak.max(kept * *smoothed + (1.0 - kept) * peak);
        *smoothed
    }

    /// Counts a request that is turned away at `now` (seconds of Unix time); the seconds it is told to stay away.
    pub(crate) fn turned_away(&self, now: u64) -> u64 {
        self.retry_after.lock().turned_away(now)
    }

    fn note_demand(&self, seats: u64) {
        // Mostly there is nothing to change, and a load shares the cache line.
        if self.peak.load(Ordering::Relaxed) < seats {
            self.peak.fetch_max(seats, Ordering::Relaxed);
        }
    }

    /// Asks for seats; the ticket is asked for where the request has to wait.
    pub(super) fn ask(self: &Arc<Self>, ticket: impl FnOnce() -> Ticket, seats: u32) -> Offer {
        if self.kind == Kind::Exempt {
            let taken = self.taken.fetch_add(u64::from(seats), Ordering::Relaxed);
            self.note_demand(taken + u64::from(seats));
            return Offer::Seats(Hold { level: Arc::clone(self), seats });
        }
        // More than all seats would never be had.
        let seats = seats.min(self.limit().max(1) as u32);
        if self.waiting.load(Ordering::SeqCst) == 0 && self.take(seats) {
            return Offer::Seats(Hold { level: Arc::clone(self), seats });
        }
        let Some(queues) = &self.queues else {
            return Offer::Refused;
        };
        let (turn, receiver) = oneshot::channel();
        let Ticket { flow, about } = ticket();
        let mut queues = queues.lock();
        let pushed = queues.push(flow, seats, Waiter { turn, about }, |waiter| waiter.turn.is_closed());
        self.waiting.store(queues.waiting(), Ordering::SeqCst);
        if pushed.is_err() {
            return Offer::Full;
        }
        self.note_demand(self.taken.load(Ordering::Relaxed) + queues.seats());
        drop(queues);
        // Whoever left between the look at the seats and the push has not seen this request.
        self.serve_waiting();
        Offer::Wait(receiver)
    }

    fn take(&self, seats: u32) -> bool {
        let limit = self.limit.load(Ordering::SeqCst);
        let add = |taken: u64| Some(taken + u64::from(seats)).filter(|sum| *sum <= limit);
        let before = self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add);
        before.inspect(|before| self.note_demand(before + u64::from(seats))).is_ok()
    }

    fn give_back(self: &Arc<Self>, seats: u32) {
        if seats == 0 {
            return;
        }
        self.taken.fetch_sub(u64::from(seats), Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.serve_waiting();
        }
    }

    /// Gives free seats to those who wait, in their order.
    fn serve_waiting(self: &Arc<Self>) {
        let Some(queues) = &self.queues else { return };
        let mut unclaimed = Vec::new();
        let mut queues = queues.lock();
        while let Some(seats) = queues.next_seats() {
            if !self.take(seats) {
                break;
            }
            if let Some((seats, waiter)) = queues.pop() {
                let hold = Hold { level: Arc::clone(self), seats };
                if let Err(mut hold) = waiter.turn.send(hold) {
                    // It went away while it waited: its seats are free at once, and nothing is served from its end.
                    self.taken.fetch_sub(u64::from(hold.seats), Ordering::SeqCst);
                    hold.seats = 0;
                    unclaimed.push(hold);
                }
            }
        }
        self.waiting.store(queues.waiting(), Ordering::SeqCst);
        drop(queues);
        drop(unclaimed);
    }
}

impl Hold {
    /// How many.
    pub(super) fn seats(&self) -> u32 {
        self.seats
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.level.kind == Kind::Exempt {
            self.level.taken.fetch_sub(u64::from(self.seats), Ordering::Relaxed);
        } else {
            self.level.give_back(self.seats);
        }
    }
}
