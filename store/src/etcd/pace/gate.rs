//! Where answers wait, and how the streams are looked at.
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::plan::{Plan, Since, Stream};
use crate::api::Revision;
use crate::watch::Mailbox;

/// The longest that an answer waits.
pub(super) const HOLD_MAX: Duration = Duration::from_millis(250);
/// Streams are looked at no more often than this, and for each that there is, this much less often.
const LOOK_EVERY: Duration = Duration::from_millis(1);
const LOOK_EVERY_OF_EACH: Duration = Duration::from_micros(1);
/// While answers wait, they are looked at at least so often.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The streams and the answers of one server.
#[derive(Debug)]
pub(crate) struct Pace {
    began: Instant,
    streams: AtomicUsize,
    /// So many answers wait.
    waiting: AtomicUsize,
    /// Before this nobody looks, in microseconds since it began.
    next_look: AtomicU64,
    state: Mutex<State>,
    /// The first answer waits.
    held: Notify,
    /// None if nobody ever waits.
    limit_bytes: Option<u64>,
}

#[derive(Debug)]
struct State {
    plan: Plan,
    streams: HashMap<u64, Member, RandomState>,
    next: u64,
    line: VecDeque<oneshot::Sender<()>>,
    looked: Instant,
    /// Up to which streams had been told then.
    announced: Option<Revision>,
    /// Used again for each look.
    seen: Vec<Stream>,
}

#[derive(Debug)]
struct Member {
    mailbox: Arc<Mailbox>,
    took: Arc<AtomicU64>,
    /// What had been announced to it at the last look.
    announced_bytes: u64,
    /// Since when it has had something to take, at each look; in microseconds since the pace began.
    owes_since: Option<u64>,
}

/// How far the store is, and how far the streams have been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) newest: Revision,
    /// Every stream has been told where to look, up to here.
    pub(crate) announced: Revision,
}

/// A stream among those that are looked at, as long as this lives.
#[derive(Debug)]
pub(crate) struct Joined {
    pace: Arc<Pace>,
    id: u64,
    took: Arc<AtomicU64>,
}

impl Pace {
    /// Answers wait while more than about so many bytes of events do; none waits never.
    pub(crate) fn new(limit_bytes: Option<u64>) -> Arc<Self> {
        let began = Instant::now();
        let state = State {
            plan: Plan::new(limit_bytes.unwrap_or(u64::MAX)),
            streams: HashMap::default(),
            next: 0,
            line: VecDeque::new(),
            looked: began,
            announced: None,
            seen: Vec::new(),
        };
        Arc::new(Self {
            began,
            streams: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            next_look: AtomicU64::new(0),
            state: Mutex::new(state),
            held: Notify::new(),
            limit_bytes,
        })
    }

    /// Adds a stream.
    pub(crate) fn join(self: &Arc<Self>, mailbox: &Arc<Mailbox>) -> Joined {
        let took = Arc::new(AtomicU64::new(self.micros(Instant::now())));
        let mut state = self.state.lock();
        let id = state.next;
        state.next += 1;
        let announced_bytes = mailbox.owed().announced();
        let member = Member {
            mailbox: Arc::clone(mailbox),
            took: Arc::clone(&took),
            announced_bytes,
            owes_since: None,
        };
        state.streams.insert(id, member);
        self.streams.store(state.streams.len(), Ordering::Relaxed);
        drop(state);
        Joined { pace: Arc::clone(self), id, took }
    }

    /// Waits until the answer of a write may go out.
    pub(crate) async fn hold(&self, told: Told) {
        if self.limit_bytes.is_none() || self.streams.load(Ordering::Relaxed) == 0 {
            return;
        }
        let Some(released) = self.queue(told) else { return };
        // Released, dropped with the server, or late: each is the end of it.
        drop(tokio::time::timeout(HOLD_MAX, released).await);
    }

    /// Where the answer's turn is told; none if it is now.
    fn queue(&self, told: Told) -> Option<oneshot::Receiver<()>> {
        let now = Instant::now();
        let mut state = self.state.lock();
        if self.is_due(now) {
            self.look(&mut state, now, told);
        }
        if state.line.is_empty() && state.plan.lets_go() {
            return None;
        }
        let (release, released) = oneshot::channel();
        state.line.push_back(release);
        self.waiting.store(state.line.len(), Ordering::Relaxed);
        self.held.notify_one();
        Some(released)
    }

    /// Looks again, if answers wait and it is time.
    fn look_again(&self, told: Told) {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        let now = Instant::now();
        if self.is_due(now) {
            self.look(&mut self.state.lock(), now, told);
        }
    }

    /// Looks while answers wait, though no stream takes anything; until the server stops.
    pub(crate) async fn run(&self, told: impl Fn() -> Told, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.held.notified() => {}
            }
            while self.waiting.load(Ordering::Relaxed) > 0 && !stop.is_cancelled() {
                tokio::time::sleep(LOOK_AGAIN).await; // what is let go is let go in groups
                self.look_again(told());
            }
        }
    }

    fn micros(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.began).as_micros()).unwrap_or(u64::MAX)
    }

    fn is_due(&self, now: Instant) -> bool {
        self.micros(now) >= self.next_look.load(Ordering::Relaxed)
    }

    /// Looks at all streams and lets go of whom the plan allows.
    fn look(&self, state: &mut State, now: Instant, told: Told) {
        let State { plan, streams, line, looked, announced: before, seen, .. } = state;
        let at = self.micros(now);
        seen.clear();
        for member in streams.values_mut() {
            let owed = member.mailbox.owed();
            let in_all = owed.announced();
            let owed_bytes = owed.bytes();
            let took = member.took.load(Ordering::Relaxed);
            member.owes_since = (owed_bytes > 0).then(|| member.owes_since.unwrap_or(at));
            let quiet = at.saturating_sub(took.max(member.owes_since.unwrap_or(0)));
            seen.push(Stream {
                owed_bytes,
                announced_bytes: in_all.saturating_sub(member.announced_bytes),
                quiet: Duration::from_micros(quiet),
            });
            member.announced_bytes = in_all;
        }
        let between = |from: Revision, to: Revision| u64::try_from(to.0.saturating_sub(from.0)).unwrap_or(0);
        let since = Since {
            revisions: before.map_or(0, |before| between(before, told.announced)),
            untold: between(told.announced, told.newest),
            elapsed: now.saturating_duration_since(*looked),
        };
        plan.look(seen, since);
        *looked = now;
        *before = Some(told.announced);
        while let Some(release) = line.pop_front_if(|release| release.is_closed() || plan.lets_go()) {
            // Who did not wait so long takes nobody's turn.
            let _waits = release.send(()).is_ok();
        }
        self.waiting.store(line.len(), Ordering::Relaxed);
        let pause = LOOK_EVERY + LOOK_EVERY_OF_EACH * u32::try_from(seen.len()).unwrap_or(u32::MAX);
        self.next_look.store(self.micros(now + pause), Ordering::Relaxed);
    }
}

impl Joined {
    /// The stream has taken something to send.
    pub(crate) fn took(&self, told: Told) {
        self.took.store(self.pace.micros(Instant::now()), Ordering::Relaxed);
        self.pace.look_again(told);
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        let mut state = self.pace.state.lock();
        state.streams.remove(&self.id);
        self.pace.streams.store(state.streams.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures::poll;

    use super::*;

    const LIMIT: u64 = 1000;
    const TOLD: Told = Told { newest: Revision(5), announced: Revision(5) };

    struct Stream {
        mailbox: Arc<Mailbox>,
        joined: Joined,
    }

    /// Streams that read, and owe their watchers so much each.
    fn streams(pace: &Arc<Pace>, count: usize, owed_bytes: u64) -> Vec<Stream> {
        let stream = |_| {
            let mailbox = Arc::<Mailbox>::default();
            let joined = pace.join(&mailbox);
            mailbox.owed().announce(owed_bytes);
            joined.took(TOLD);
            Stream { mailbox, joined }
        };
        (0..count).map(stream).collect()
    }

    async fn waits(pace: &Pace) -> Duration {
        let began = Instant::now();
        pace.hold(TOLD).await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_waits_until_the_streams_have_taken_what_they_lagged_by() {
        let pace = Pace::new(Some(LIMIT));
        assert_eq!(waits(&pace).await, Duration::ZERO, "nobody watches");
        let streams = streams(&pace, 4, LIMIT);
        tokio::time::advance(LOOK_EVERY * 2).await;
        let mut first = std::pin::pin!(pace.hold(TOLD));
        let mut second = std::pin::pin!(pace.hold(TOLD));
        assert!(poll!(first.as_mut()).is_pending() && poll!(second.as_mut()).is_pending());
        for stream in &streams {
            stream.mailbox.owed().settle(LIMIT);
            tokio::time::advance(LOOK_EVERY * 2).await;
            stream.joined.took(TOLD);
        }
        assert!(poll!(first.as_mut()).is_ready() && poll!(second.as_mut()).is_ready());
        assert_eq!(waits(&pace).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn no_answer_waits_for_long_and_none_for_streams_that_read_nothing() {
        let pace = Pace::new(Some(LIMIT));
        let _streams = streams(&pace, 4, LIMIT);
        tokio::time::advance(LOOK_EVERY * 2).await;
        assert_eq!(waits(&pace).await, HOLD_MAX);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(waits(&pace).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_goes_on_when_the_streams_end() {
        let pace = Pace::new(Some(LIMIT));
        let streams = streams(&pace, 4, LIMIT);
        tokio::time::advance(LOOK_EVERY * 2).await;
        let ending = async {
            tokio::task::yield_now().await;
            drop(streams);
        };
        let looking = pace.run(|| TOLD, CancellationToken::new());
        let waited = async { tokio::join!(waits(&pace), ending).0 };
        tokio::select! {
            () = looking => unreachable!("nobody stopped it"),
            waited = waited => assert_eq!(waited, LOOK_AGAIN),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nobody_waits() {
        let pace = Pace::new(None);
        let _streams = streams(&pace, 9, u64::MAX / 16);
        tokio::time::advance(LOOK_EVERY * 2).await;
        assert_eq!(waits(&pace).await, Duration::ZERO);
    }
}
