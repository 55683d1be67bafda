//! The appends of one link, on their way through consensus: taken in the order in which they came, many at a time, and answered in that order.
//!
//! The order matters. A leader sends appends without waiting for answers, each beginning where the one before it ends. Consensus that gets the
//! second first refuses it for want of the first, and the leader would hear that a member lost what it acknowledges a moment later. Calls
//! that are merely begun in order may overtake each other: any of them may have to wait, for room in a channel or for its turn on a thread.
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use openraft::raft::AppendEntriesRequest;
use tokio::sync::mpsc;

use super::server::Answerer;
use crate::raft::types::TypeConfig;
use crate::raft::wire::Reply;

/// So many appends of one link are under way at a time.
const APPENDS_MAX: usize = 1024;

/// An append.
pub(crate) type Append = AppendEntriesRequest<TypeConfig>;

/// The answers to appends, in their order. It may end after a refusal: what follows the one that was refused is of no use.
pub(crate) type Answers = BoxStream<'static, Reply>;

pub(super) struct Appends<A> {
    answerer: Arc<A>,
    /// The numbers of those that are not answered yet, in order.
    numbers: VecDeque<u64>,
    /// None until the first one, and after a refusal.
    way: Option<(mpsc::Sender<Append>, Answers)>,
}

impl<A: Answerer> Appends<A> {
    pub(super) fn new(answerer: Arc<A>) -> Self {
        Self { answerer, numbers: VecDeque::new(), way: None }
    }

    pub(super) fn has_room(&self) -> bool {
        self.numbers.len() < APPENDS_MAX
    }

    /// Puts an append on its way, after all others.
    pub(super) fn take(&mut self, number: u64, append: Append) {
        let answerer = &self.answerer;
        let (way, _answers) = self.way.get_or_insert_with(|| {
            let (way, appends) = mpsc::channel(APPENDS_MAX);
            (way, Arc::clone(answerer).append_all(appends))
        });
        // There is room, by `has_room`. If consensus has ended, so do the answers, and this one gets the last of them.
        drop(way.try_send(append));
        self.numbers.push_back(number);
    }

    /// The next answers, at least one. Cancelling this loses none. It never ends while nothing is under way.
    pub(super) async fn answers(&mut self, replies: &mut Vec<Bytes>) {
        let Some((_, answers)) = &mut self.way else { return std::future::pending().await };
        let reply = answers.next().await;
        let ended = || Reply::Failed("an append before it was refused".into());
        let goes_on = matches!(reply, Some(Reply::Appended));
        if let Some(number) = self.numbers.pop_front() {
            replies.push(Bytes::from(reply.unwrap_or_else(ended).encode(number)));
        }
        if !goes_on {
            replies.extend(self.numbers.drain(..).map(|number| Bytes::from(ended().encode(number))));
            self.way = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::server::{Answer, From};
    use super::*;
    use crate::api::LinkReceiver;
    use crate::raft::types::{MemberNode, Vote, log_id};
    use crate::raft::wire::Request;

    /// Acknowledges until an append with this index before it.
    struct Refusing(u64);

    impl Answerer for Refusing {
        fn answer(self: Arc<Self>, _from: From, _request: Request) -> Answer {
            Box::pin(async { None })
        }

        fn append_all(self: Arc<Self>, appends: mpsc::Receiver<Append>) -> Answers {
            let taken =
                futures::stream::unfold(appends, async |mut appends| Some((appends.recv().await?, appends)));
            let refused = self.0;
            let answered = move |append: Append| match append.prev_log_id {
                Some(prev) if prev.index == refused => Reply::Conflict,
                _ => Reply::Appended,
            };
            taken.map(answered).boxed()
        }

        fn take_snapshot(self: Arc<Self>, _first: Request, _parts: Box<dyn LinkReceiver>) -> Answer {
            Box::pin(async { None })
        }

        fn members(&self) -> Option<Vec<(u64, MemberNode)>> {
            None
        }

        fn removed(&self, _id: u64) -> Option<u64> {
            None
        }
    }

    fn append(prev: u64) -> Append {
        let vote = Vote::new_committed(1, 1);
        Append { vote, prev_log_id: Some(log_id(1, prev)), entries: Vec::new(), leader_commit: None }
    }

    #[tokio::test]
    async fn every_append_is_answered_once_in_order_and_a_refusal_ends_only_what_was_under_way() {
        let mut appends = Appends::new(Arc::new(Refusing(2)));
        for number in 0..5 {
            appends.take(number, append(number));
        }
        let mut replies = Vec::new();
        while replies.len() < 5 {
            appends.answers(&mut replies).await;
        }
        appends.take(5, append(7));
        appends.answers(&mut replies).await;
        let read: Vec<(u64, Reply)> = replies.iter().map(|frame| Reply::decode(frame).unwrap()).collect();
        let failed = || Reply::Failed("an append before it was refused".into());
        let expected =
            [Reply::Appended, Reply::Appended, Reply::Conflict, failed(), failed(), Reply::Appended];
        assert_eq!(read, (0..).zip(expected).collect::<Vec<_>>());
    }
}
