//! Exponential backoff with jitter.

use std::time::Duration;

use rand::Rng;

/// Doubles a delay up to a maximum; jitter keeps many clients from retrying in step.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    attempt: u32,
}

impl Backoff {
    /// A backoff that begins at `first` and never exceeds `max`.
    pub fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, attempt: 0 }
    }

    /// The delay before the next attempt, without jitter; each call counts as one failure.
    pub fn advance(&mut self) -> Duration {
        let factor = 2_u32.saturating_pow(self.attempt.min(31));
        self.attempt = self.attempt.saturating_add(1);
        self.first.saturating_mul(factor).min(self.max)
    }

    /// As [`Backoff::advance`], spread over 50–100 % of the delay.
    pub fn advance_jittered(&mut self, rng: &mut impl Rng) -> Duration {
        self.advance().mul_f64(rng.random_range(0.5..=1.0))
    }

    /// Waits the next jittered delay. Cancel safe: a dropped wait still counts as one failure.
    pub async fn wait(&mut self) {
        let delay = self.advance_jittered(&mut rand::rng());
        tokio::time::sleep(delay).await;
    }

    /// Starts again from the first delay, after a success.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }

    /// How many failures were counted since the last reset.
    pub fn attempts(&self) -> u32 {
        self.attempt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_maximum_and_reset() {
        let mut backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(35));
        let delays: Vec<_> = (0..4).map(|_| backoff.advance().as_secs()).collect();
        assert_eq!(delays, [10, 20, 35, 35]);
        backoff.reset();
        assert_eq!(backoff.advance().as_secs(), 10);
    }

    #[test]
    fn jitter_stays_between_half_and_the_whole_delay() {
        let mut backoff = Backoff::new(Duration::from_secs(8), Duration::from_secs(8));
        for _ in 0..100 {
            let delay = backoff.advance_jittered(&mut rand::rng());
            assert!((Duration::from_secs(4)..=Duration::from_secs(8)).contains(&delay), "{delay:?}");
        }
    }
}
