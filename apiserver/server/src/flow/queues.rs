//! The queues of one priority level: which queue a request waits in, and who is next. Pure: no clock, no waking.
//!
//! A flow is dealt a hand of queues and waits in the shortest of them, so that a greedy flow fills its own hand and
//! leaves others a way (shuffle sharding). Queues are served by virtual start time, so that each gets its share of seats
//! whatever its length (start-time fair queueing).

use std::collections::VecDeque;

/// How a level's queues are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) queues: usize,
    pub(super) hand: usize,
    pub(super) length_max: usize,
}

/// Requests that wait; `T` wakes one.
#[derive(Debug)]
pub(super) struct Queues<T> {
    layout: Layout,
    /// One lane a queue of the layout.
    lanes: Vec<Queue<T>>,
    /// The virtual start of the request that was served last.
    virtual_now: u64,
    waiting: usize,
    /// The seats that all of them need.
    seats: u64,
}

#[derive(Debug)]
struct Queue<T> {
    requests: VecDeque<(u64, u32, T)>,
    /// When, in virtual time, its last request ends.
    finish: u64,
    seats: u64,
}

impl<T> Queues<T> {
    pub(super) fn new(layout: Layout) -> Self {
        let queue = |_| Queue { requests: VecDeque::new(), finish: 0, seats: 0 };
        Self {
            layout,
            lanes: (0..layout.queues.max(1)).map(queue).collect(),
            virtual_now: 0,
            waiting: 0,
            seats: 0,
        }
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// In how many queues somebody waits.
    pub(super) fn active(&self) -> usize {
        self.lanes.iter().filter(|queue| !queue.requests.is_empty()).count()
    }

    /// The seats that those who wait need.
    pub(super) fn seats(&self) -> u64 {
        self.seats
    }

    /// Each queue: the virtual time at which its next request is served, the seats that those who wait in it need, and they.
    pub(super) fn each(&self) -> impl Iterator<Item = (u64, u64, impl Iterator<Item = &T>)> {
        self.lanes.iter().map(|queue| {
            let next = queue.requests.front().map_or(queue.finish, |(start, _, _)| *start);
            (next, queue.seats, queue.requests.iter().map(|(_, _, request)| request))
        })
    }

    /// Takes in a request of a flow that needs so many seats; gives it back where the shortest queue of its hand is full
    /// of requests that are not `gone`.
    pub(super) fn push(
        &mut self,
        flow: u64,
        seats: u32,
        request: T,
        gone: impl Fn(&T) -> bool,
    ) -> Result<(), T> {
        let hand = deal(flow, self.lanes.len(), self.layout.hand);
        let shortest =
            hand.into_iter().min_by_key(|at| self.lanes.get(*at).map_or(u64::MAX, |queue| queue.seats));
        let Some(queue) = shortest.and_then(|at| self.lanes.get_mut(at)) else { return Err(request) };
        if queue.requests.len() >= self.layout.length_max {
            let before = (queue.requests.len(), queue.seats);
            queue.requests.retain(|(_, _, request)| !gone(request));
            queue.seats = queue.requests.iter().map(|(_, seats, _)| u64::from(*seats)).sum();
            self.waiting -= before.0 - queue.requests.len();
            self.seats -= before.1 - queue.seats;
        }
        if queue.requests.len() >= self.layout.length_max {
            return Err(request);
        }
        let start = queue.finish.max(self.virtual_now);
        queue.finish = start + u64::from(seats);
        queue.seats += u64::from(seats);
        queue.requests.push_back((start, seats, request));
        self.waiting += 1;
        self.seats += u64::from(seats);
        Ok(())
    }

    /// The seats that the next request needs.
    pub(super) fn next_seats(&self) -> Option<u32> {
        self.next().and_then(|at| self.lanes.get(at)?.requests.front().map(|(_, seats, _)| *seats))
    }

    /// Takes out the next request.
    pub(super) fn pop(&mut self) -> Option<(u32, T)> {
        let at = self.next()?;
        let queue = self.lanes.get_mut(at)?;
        let (start, seats, request) = queue.requests.pop_front()?;
        queue.seats -= u64::from(seats);
        self.virtual_now = self.virtual_now.max(start);
        self.waiting -= 1;
        self.seats -= u64::from(seats);
        Some((seats, request))
    }

    fn next(&self) -> Option<usize> {
        let heads = self.lanes.iter().enumerate();
        heads.filter_map(|(at, queue)| Some((queue.requests.front()?.0, at))).min().map(|(_, at)| at)
    }
}

/// A flow's hand: different queues, the same for the same flow.
pub(super) fn deal(mut flow: u64, queues: usize, hand: usize) -> Vec<usize> {
    let mut dealt: Vec<usize> = Vec::with_capacity(hand.min(queues));
    for taken in 0..hand.min(queues) {
        let left = (queues - taken) as u64;
        let mut card = (flow % left) as usize;
        flow /= left;
        // The card's place among those that are left.
        let mut sorted = dealt.clone();
        sorted.sort_unstable();
        for earlier in sorted {
            if card >= earlier {
                card += 1;
            }
        }
        dealt.push(card);
    }
    dealt
}
