//! [`RetryAfter`]: how many seconds a request that is turned away is told to stay away. Pure.
//!
//! The number doubles while much is turned away and shrinks by one while little is, as upstream's tracker has it.

/// The most seconds.
const SECONDS_MAX: u64 = 32;

/// One priority level's number.
#[derive(Debug)]
pub(super) struct RetryAfter {
    seconds: u64,
    /// When it grew last, in seconds of Unix time.
    grew: u64,
    /// How many were turned away in a second, oldest first; the last is the present one.
    history: Vec<(u64, u64)>,
}

impl Default for RetryAfter {
    fn default() -> Self {
        Self { seconds: 1, grew: 0, history: Vec::new() }
    }
}

impl RetryAfter {
    /// Counts a request that is turned away at `now` (seconds of Unix time); the seconds to tell it.
    pub(super) fn turned_away(&mut self, now: u64) -> u64 {
        match self.history.last_mut() {
            Some((second, count)) if *second == now => {
                *count += 1;
                return self.seconds;
            }
            _ => {}
        }
        // A second has passed: the ones before it decide.
        let counted = self.history.iter().filter(|(second, _)| now.saturating_sub(*second) <= self.seconds);
        let turned: u64 = counted.map(|(_, count)| *count).sum();
        if now.saturating_sub(self.grew) >= self.seconds && turned >= 3 * self.seconds {
            self.seconds = (2 * self.seconds).min(SECONDS_MAX);
            self.grew = now;
        } else if turned < self.seconds && self.seconds > 1 {
            self.seconds -= 1;
        }
        self.history.push((now, 1));
        let kept = (2 * self.seconds).min(SECONDS_MAX);
        self.history.retain(|(second, _)| now.saturating_sub(*second) <= kept);
        self.seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_under_load_and_shrinks_after_it() {
        let mut after = RetryAfter::default();
        let mut told = Vec::new();
        for now in 1000..1012 {
            let seconds = (0..100).map(|_| after.turned_away(now)).max().unwrap();
            told.push(seconds);
        }
        assert_eq!(told, [1, 2, 2, 4, 4, 4, 4, 8, 8, 8, 8, 8]);
        let calm: Vec<u64> = (0..10).map(|i| after.turned_away(1100 + 50 * i)).collect();
        assert_eq!(calm, [7, 6, 5, 4, 3, 2, 1, 1, 1, 1]);
    }
}
