//! Which forwarded commands a leader has taken, so that one that is sent again over another link is not taken twice.
use std::collections::{BTreeSet, HashMap};

use parking_lot::Mutex;

use super::peers::From;

/// So many commands of one process are remembered one by one; what is older counts as taken.
const REMEMBERED_MAX: usize = 16_384;

/// The commands taken in the newest term, by the process that they are of.
#[derive(Debug, Default)]
pub(crate) struct Forwarded {
    taken: Mutex<HashMap<From, Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    term: u64,
    /// Everything up to here was taken, or will not be.
    floor: Option<u64>,
    above: BTreeSet<u64>,
}

impl Forwarded {
    /// Whether a command has not been taken yet in this term. It has from now on.
    pub(crate) fn is_new(&self, from: From, term: u64, sequence: u64) -> bool {
        let mut all = self.taken.lock();
        // A member has one process at a time: what an earlier one sent comes no more.
        if !all.contains_key(&from) {
            all.retain(|other, _| other.member != from.member);
        }
        let taken = all.entry(from).or_default();
        if term != taken.term {
            // A command is sent to one term only, so those of another need not be known any more.
            if term < taken.term {
                return false;
            }
            *taken = Taken { term, ..Taken::default() };
        }
        if taken.floor.is_some_and(|floor| sequence <= floor) || !taken.above.insert(sequence) {
            return false;
        }
        if taken.above.len() > REMEMBERED_MAX {
            taken.floor = taken.above.pop_first();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANNA: From = From { member: 1, instance: 7 };

    #[test]
    fn a_command_is_taken_once_in_a_term() {
        let forwarded = Forwarded::default();
        assert!(forwarded.is_new(ANNA, 3, 10));
        assert!(!forwarded.is_new(ANNA, 3, 10));
        assert!(forwarded.is_new(ANNA, 3, 9), "links may overtake each other");
        assert!(forwarded.is_new(ANNA, 4, 10), "of another term it is another attempt");
        assert!(!forwarded.is_new(ANNA, 3, 11), "nobody waits for an earlier term");
        let again = From { instance: 8, ..ANNA };
        assert!(forwarded.is_new(again, 4, 10), "another process counts for itself");
    }

    #[test]
    fn what_is_too_old_to_be_remembered_is_not_taken_again() {
        let forwarded = Forwarded::default();
        for sequence in 0..REMEMBERED_MAX as u64 + 10 {
            assert!(forwarded.is_new(ANNA, 1, sequence));
        }
        for sequence in 0..20 {
            assert!(!forwarded.is_new(ANNA, 1, sequence));
        }
    }
}
