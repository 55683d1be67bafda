//! The decision: whose answers go out now. Bytes, counts and durations come in; nothing is looked at here.
use std::time::Duration;

/// With fewer streams than this that read, nobody waits: one slow client is no reason to hold up the others.
const STREAMS_MIN: usize = 4;
/// A stream that has taken nothing for so long, though there was something, does not read. A server or a client that is busy may need part of it to
/// come round: to take such a stream for one that has stopped would let go of the writers when they should wait most.
const READS_WITHIN: Duration = Duration::from_secs(3);
/// Whoever was answered and has not written again for so long does not come back at once.
const RETURNS_WITHIN: Duration = Duration::from_millis(20);

/// One stream, at a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stream {
    /// What it has to be sent still.
    pub(super) owed_bytes: u64,
    /// What it was given to send since the look before.
    pub(super) announced_bytes: u64,
    /// Since it last took something to send, or since there was something.
    pub(super) quiet: Duration,
}

/// What happened since the look before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Since {
    /// Revisions that streams were told of.
    pub(super) revisions: u64,
    /// Revisions that they will be told of next.
    pub(super) untold: u64,
    pub(super) elapsed: Duration,
}

/// What is known from one look to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// So much may wait to be sent before writers do.
    limit_bytes: u64,
    /// What waits, at the last look; a stream that lags more than most counts for no more than these.
    backlog_bytes: u64,
    /// What a write adds to it, about.
    write_bytes: u64,
    /// Writers that were answered and have not written again.
    expected: u64,
    /// Since one of them did.
    expected_for: Duration,
}

impl Plan {
    pub(super) fn new(limit_bytes: u64) -> Self {
        Self { limit_bytes, backlog_bytes: 0, write_bytes: 0, expected: 0, expected_for: Duration::ZERO }
    }

    /// Takes in how the streams stand.
    pub(super) fn look(&mut self, streams: &[Stream], since: Since) {
        let reading = || streams.iter().filter(|stream| stream.quiet <= READS_WITHIN);
        let count = reading().count();
        if count < STREAMS_MIN {
            *self = Self::new(self.limit_bytes);
            return;
        }
        if let Some(bytes) =
            reading().map(|stream| stream.announced_bytes).sum::<u64>().checked_div(since.revisions)
        {
            self.write_bytes = if self.write_bytes == 0 { bytes } else { self.write_bytes.midpoint(bytes) };
        }
        // Half of them have to lag before it is the limit.
        let most = self.limit().saturating_mul(2) / count as u64;
        self.backlog_bytes = reading().map(|stream| stream.owed_bytes.min(most)).sum();
        self.backlog_bytes += self.write_bytes.saturating_mul(since.untold);
        self.expected_for += since.elapsed;
        if since.revisions > 0 {
            self.expected_for = Duration::ZERO;
            self.expected = self.expected.saturating_sub(since.revisions);
        } else if self.expected_for > RETURNS_WITHIN {
            self.expected = 0;
        }
    }

    /// However much a write costs, one at a time goes on.
    fn limit(&self) -> u64 {
        self.limit_bytes.max(self.write_bytes.saturating_mul(2))
    }

    /// Whether one more answer may go out. If so, its writer is expected to write again.
    pub(super) fn lets_go(&mut self) -> bool {
        let expected_bytes = self.write_bytes.saturating_mul(self.expected);
        let goes = self.backlog_bytes.saturating_add(expected_bytes).saturating_add(self.write_bytes)
            <= self.limit();
        self.expected += u64::from(goes);
        goes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 1000;

    fn stream(owed_bytes: u64, announced_bytes: u64, quiet_millis: u64) -> Stream {
        Stream { owed_bytes, announced_bytes, quiet: Duration::from_millis(quiet_millis) }
    }

    /// How many answers go out at once after one look, up to 50.
    fn answers(streams: &[Stream], revisions: u64) -> u64 {
        let mut plan = Plan::new(LIMIT);
        plan.look(streams, Since { revisions, untold: 0, elapsed: Duration::from_millis(1) });
        (0..50).take_while(|_| plan.lets_go()).count() as u64
    }

    #[test]
    fn who_is_answered() {
        let even = |owed, announced| vec![stream(owed, announced, 1); 10];
        let stopped = |count| vec![stream(1 << 40, 10, 60_000); count];
        let mut one_behind = even(1, 10);
        one_behind[0].owed_bytes = 1 << 40;
        let mut most_behind = even(1, 10);
        most_behind[..6].fill(stream(1 << 40, 10, 1));
        let with_stopped = [even(10, 10), stopped(100)].concat();
        let table: [(&str, Vec<Stream>, u64, u64); 12] = [
            ("nobody watches", vec![], 1, 50),
            ("watchers that nothing concerns", even(0, 0), 9, 50),
            ("nothing lags: as many as fill the limit", even(0, 10), 1, 10),
            ("half of the limit waits", even(50, 10), 1, 5),
            ("the limit waits", even(100, 10), 1, 0),
            ("more than the limit waits", even(5000, 10), 1, 0),
            ("few streams may lag as they like", vec![stream(5000, 10, 1); 3], 1, 50),
            ("one of ten is far behind: it counts for a fifth of the limit", one_behind, 1, 7),
            ("most are far behind", most_behind, 1, 0),
            ("all have stopped reading", stopped(10), 1, 50),
            ("those that have stopped count for nothing", with_stopped, 1, 9),
            ("nothing is there to take", vec![stream(0, 0, 60_000); 10], 1, 50),
        ];
        for (name, streams, revisions, expected) in table {
            assert_eq!(answers(&streams, revisions), expected, "{name}");
        }
    }

    #[test]
    fn a_write_that_costs_more_than_the_limit_is_answered_once_nothing_lags() {
        assert_eq!(answers(&[stream(0, 5000, 1); 10], 1), 2);
        assert_eq!(answers(&[stream(5000, 5000, 1); 10], 1), 1);
        assert_eq!(answers(&[stream(50_000, 5000, 1); 10], 1), 0);
    }

    #[test]
    fn what_streams_are_not_told_of_yet_waits_too() {
        let mut plan = Plan::new(LIMIT);
        let since = Since { revisions: 1, untold: 7, elapsed: Duration::from_millis(1) };
        plan.look(&[stream(0, 10, 1); 10], since);
        assert_eq!((0..50).take_while(|_| plan.lets_go()).count(), 3);
    }

    #[test]
    fn who_was_answered_is_expected_back_for_a_while() {
        let idle = [stream(0, 0, 1); 10];
        let look = |plan: &mut Plan, streams: &[Stream], revisions, millis| {
            plan.look(streams, Since { revisions, untold: 0, elapsed: Duration::from_millis(millis) });
            (0..50).take_while(|_| plan.lets_go()).count()
        };
        let mut plan = Plan::new(LIMIT);
        assert_eq!(look(&mut plan, &[stream(0, 10, 1); 10], 1, 1), 10);
        assert_eq!(look(&mut plan, &idle, 0, 1), 0, "all ten may write at any moment");
        assert_eq!(look(&mut plan, &[stream(0, 30, 1); 10], 3, 1), 3, "three have");
        assert_eq!(look(&mut plan, &idle, 0, 15), 0);
        assert_eq!(look(&mut plan, &idle, 0, 6), 10, "nobody has for long");
    }
}
