//! The search for an order of operations that explains their answers (Wing and Gong, with Lowe's memory of what was tried).
//!
//! It knows nothing of stores. Operations whose outcome is unknown may have happened at any time after their call, or never.
use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

/// What operations mean.
pub trait Spec {
    /// All that the operations can change.
    type State: Clone + Debug + Eq + Hash;
    /// One operation with its answer, if that is known.
    type Op: Debug;

    /// The state before the first operation.
    fn initial(&self) -> Self::State;

    /// The state after an operation; none if it cannot have given its answer in this state.
    fn step(&self, state: &Self::State, op: &Self::Op) -> Option<Self::State>;
}

/// An operation in time. Times are only compared.
#[derive(Clone, Debug)]
pub struct Timed<O, T> {
    /// When it was called.
    pub called: T,
    /// When it was answered; none if it never was.
    pub returned: Option<T>,
    /// The operation.
    pub op: O,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order that explains everything.
    Linearizable,
    /// There is none. These operations (by position) were all answered, and no order has more of them.
    Violation {
        /// The most operations that could be ordered.
        ordered: Vec<usize>,
        /// Those that could not come next.
        stuck: Vec<usize>,
    },
    /// The search was given up after so many steps.
    TooLong {
        /// The steps.
        steps: u64,
    },
}

type Bits = Box<[u64]>;

/// A call or an answer in the list of those not yet ordered. Position 0 is the head.
#[derive(Clone, Copy, Debug)]
struct Node {
    op: usize,
    is_call: bool,
    /// The answer of a call.
    answer: Option<usize>,
    before: usize,
    after: usize,
}

struct List(Vec<Node>);

const END: usize = usize::MAX;

impl List {
    fn new<O, T: Ord + Copy>(history: &[Timed<O, T>]) -> Self {
        // Calls before answers of the same moment: they may overlap.
        let mut marks: Vec<(T, bool, usize)> = Vec::with_capacity(2 * history.len());
        for (op, timed) in history.iter().enumerate() {
            marks.push((timed.called, false, op));
            marks.extend(timed.returned.map(|returned| (returned, true, op)));
        }
        marks.sort_unstable();
        let mut nodes = vec![Node { op: END, is_call: false, answer: None, before: END, after: END }];
        let mut calls = vec![END; history.len()];
        for (_, is_answer, op) in marks {
            let at = nodes.len();
            if is_answer {
                nodes[calls[op]].answer = Some(at);
            } else {
                calls[op] = at;
            }
            nodes[at - 1].after = at;
            nodes.push(Node { op, is_call: !is_answer, answer: None, before: at - 1, after: END });
        }
        Self(nodes)
    }

    fn first(&self) -> usize {
        self.0[0].after
    }

    fn take_out(&mut self, at: usize) {
        let Node { before, after, .. } = self.0[at];
        self.0[before].after = after;
        if after != END {
            self.0[after].before = before;
        }
    }

    fn put_back(&mut self, at: usize) {
        let Node { before, after, .. } = self.0[at];
        self.0[before].after = at;
        if after != END {
            self.0[after].before = at;
        }
    }

    fn lift(&mut self, call: usize) {
        self.take_out(call);
        if let Some(answer) = self.0[call].answer {
            self.take_out(answer);
        }
    }

    fn unlift(&mut self, call: usize) {
        if let Some(answer) = self.0[call].answer {
            self.put_back(answer);
        }
        self.put_back(call);
    }
}

/// Searches for an order, for at most `steps_max` steps.
pub fn search<S: Spec, T: Ord + Copy>(spec: &S, history: &[Timed<S::Op, T>], steps_max: u64) -> Verdict {
    let mut list = List::new(history);
    let mut answered = history.iter().filter(|timed| timed.returned.is_some()).count();
    let mut bits: Bits = vec![0; history.len().div_ceil(64)].into();
    let mut seen: HashSet<(Bits, S::State)> = HashSet::new();
    let mut state = spec.initial();
    let mut order: Vec<(usize, S::State)> = Vec::new();
    let mut best: (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
    let mut at = list.first();
    for _ in 0..steps_max {
        if answered == 0 {
            return Verdict::Linearizable;
        }
        let node = (at != END).then(|| list.0[at]);
        if let Some(Node { op, is_call: true, answer, after, .. }) = node {
            let mut goes_on = false;
            if let Some(next) = spec.step(&state, &history[op].op) {
                bits[op / 64] |= 1 << (op % 64);
                goes_on = seen.insert((bits.clone(), next.clone()));
                if goes_on {
                    order.push((at, std::mem::replace(&mut state, next)));
                    list.lift(at);
                    answered -= usize::from(answer.is_some());
                } else {
                    bits[op / 64] &= !(1 << (op % 64));
                }
            }
            at = if goes_on { list.first() } else { after };
            continue;
        }
        // An answer whose operation is not ordered yet, or the end: what was ordered last is wrong.
        if order.len() >= best.0.len() {
            best.0 = order.iter().map(|(call, _)| list.0[*call].op).collect();
            best.1 = waiting(&list);
        }
        let Some((call, before)) = order.pop() else {
            return Verdict::Violation { ordered: best.0, stuck: best.1 };
        };
        state = before;
        list.unlift(call);
        let Node { op, answer, after, .. } = list.0[call];
        bits[op / 64] &= !(1 << (op % 64));
        answered += usize::from(answer.is_some());
        at = after;
    }
    Verdict::TooLong { steps: steps_max }
}

/// The operations that could come next as far as time goes.
fn waiting(list: &List) -> Vec<usize> {
    let mut at = list.first();
    let mut found = Vec::new();
    while at != END && list.0[at].is_call {
        found.push(list.0[at].op);
        at = list.0[at].after;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A register: `(is_write, value)`.
    struct Register;

    impl Spec for Register {
        type State = u32;
        type Op = (bool, u32);

        fn initial(&self) -> u32 {
            0
        }

        fn step(&self, state: &u32, (is_write, value): &(bool, u32)) -> Option<u32> {
            if *is_write { Some(*value) } else { (state == value).then_some(*state) }
        }
    }

    fn write(called: u32, returned: u32, value: u32) -> Timed<(bool, u32), u32> {
        Timed { called, returned: Some(returned), op: (true, value) }
    }

    fn read(called: u32, returned: u32, value: u32) -> Timed<(bool, u32), u32> {
        Timed { called, returned: Some(returned), op: (false, value) }
    }

    fn lost(called: u32, value: u32) -> Timed<(bool, u32), u32> {
        Timed { called, returned: None, op: (true, value) }
    }

    fn verdict(history: &[Timed<(bool, u32), u32>]) -> Verdict {
        search(&Register, history, 1_000_000)
    }

    #[test]
    fn a_history_in_order_is_linearizable() {
        assert_eq!(
            verdict(&[write(0, 1, 1), read(2, 3, 1), write(4, 5, 2), read(6, 7, 2)]),
            Verdict::Linearizable
        );
    }

    #[test]
    fn a_stale_read_is_found() {
        let found = verdict(&[write(0, 1, 1), write(2, 3, 2), read(4, 5, 1)]);
        assert!(matches!(found, Verdict::Violation { stuck, .. } if stuck == [2]));
    }

    #[test]
    fn a_read_while_a_write_is_under_way_may_see_either() {
        for value in [1, 2] {
            assert_eq!(verdict(&[write(0, 1, 1), write(2, 9, 2), read(3, 4, value)]), Verdict::Linearizable);
        }
    }

    #[test]
    fn reads_that_see_a_write_come_and_go_are_found() {
        let found = verdict(&[write(0, 1, 1), write(2, 9, 2), read(3, 4, 2), read(5, 6, 1)]);
        assert!(matches!(found, Verdict::Violation { .. }));
    }

    #[test]
    fn a_write_of_unknown_outcome_may_have_happened_late_or_never() {
        assert_eq!(
            verdict(&[write(0, 1, 1), lost(2, 2), read(3, 4, 1), read(5, 6, 2)]),
            Verdict::Linearizable
        );
        assert_eq!(verdict(&[write(0, 1, 1), lost(2, 2), read(3, 4, 1)]), Verdict::Linearizable);
    }

    #[test]
    fn a_write_of_unknown_outcome_happens_once_and_not_before_its_call() {
        let twice = [write(0, 1, 1), lost(2, 2), read(3, 4, 2), write(5, 6, 3), read(7, 8, 2)];
        assert!(matches!(verdict(&twice), Verdict::Violation { .. }));
        assert!(matches!(verdict(&[write(0, 1, 1), read(2, 3, 2), lost(4, 2)]), Verdict::Violation { .. }));
    }

    #[test]
    fn ten_thousand_operations_take_little_time() {
        // Ten clients whose operations overlap.
        let mut history = Vec::new();
        for i in 0..10_000 {
            let at = i * 10;
            history.push(if i % 2 == 0 { write(at, at + 95, i) } else { read(at, at + 95, i - 1) });
        }
        assert_eq!(search(&Register, &history, 5_000_000), Verdict::Linearizable);
    }

    #[test]
    fn a_search_without_end_is_given_up() {
        let mut history: Vec<_> = (0..40).map(|i| lost(i, i + 1)).collect();
        history.push(read(100, 101, 999));
        assert_eq!(search(&Register, &history, 10_000), Verdict::TooLong { steps: 10_000 });
    }
}
