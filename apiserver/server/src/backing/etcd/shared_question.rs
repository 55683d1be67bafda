//! Many ask the same question at once: it is sent once, and its answer serves all who had asked before it was sent.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use super::super::BackingError;

/// A question whose answer may not be older than the asking.
#[derive(Debug)]
pub(super) struct SharedQuestion<T> {
    /// How many questions were sent.
    sent: AtomicU64,
    /// The last answer, and which question it answers.
    answer: Mutex<(u64, Option<Result<T, BackingError>>)>,
}

impl<T> Default for SharedQuestion<T> {
    fn default() -> Self {
        Self { sent: AtomicU64::new(0), answer: Mutex::new((0, None)) }
    }
}

impl<T: Clone> SharedQuestion<T> {
    /// The answer to a question that was sent after this call began. Cancel safe: who waits then asks anew.
    pub(super) async fn ask<F>(&self, send: impl FnOnce() -> F) -> Result<T, BackingError>
    where
        F: Future<Output = Result<T, BackingError>>,
    {
        // Those sent up to now may have been answered by a state that is older than this call.
        let wanted = self.sent.load(Ordering::Acquire) + 1;
        let mut answer = self.answer.lock().await;
        if let (number, Some(known)) = &*answer
            && *number >= wanted
        {
            return known.clone();
        }
        let number = self.sent.fetch_add(1, Ordering::AcqRel) + 1;
        let new = send().await;
        *answer = (number, Some(new.clone()));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn who_asks_while_a_question_is_under_way_shares_the_next_one() {
        let question = Arc::new(SharedQuestion::<u64>::default());
        let questions = Arc::new(AtomicU64::new(0));
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        let ask = || {
            let (question, questions, gate) =
                (Arc::clone(&question), Arc::clone(&questions), Arc::clone(&gate));
            async move {
                let send = || async {
                    let number = questions.fetch_add(1, Ordering::SeqCst) + 1;
                    gate.acquire().await.unwrap().forget();
                    Ok(number)
                };
                question.ask(send).await.unwrap()
            }
        };
        let mut first = std::pin::pin!(ask());
        assert!(futures::poll!(&mut first).is_pending());
        let mut later: Vec<_> = (0..9).map(|_| Box::pin(ask())).collect();
        for one in &mut later {
            assert!(futures::poll!(one).is_pending());
        }
        gate.add_permits(2);
        assert_eq!(first.await, 1);
        for one in later {
            assert_eq!(one.await, 2);
        }
        assert_eq!(questions.load(Ordering::SeqCst), 2);
    }
}
