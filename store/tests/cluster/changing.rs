//! Changes of the members at the same time.
use mainstay_store::ClusterError;

use crate::members::{Members, in_time, until, url};

/// Each is decided on what the one before it left, whichever member they come through.
#[tokio::test]
async fn members_that_are_added_at_the_same_time_are_added_one_after_the_other() {
    let members = Members::start(3).await;
    until("every member has told its name", async || {
        let known = members.store(0).members(true).await.unwrap();
        known.iter().all(|member| !member.name.is_empty())
    })
    .await;
    let add = |at: usize, member: usize, learner| members.store(at).member_add(vec![url(member)], learner);
    for round in 0..5 {
        let new = 10 + round * 10;
        let three = futures::future::join_all((0..3).map(|at| add(at, new + 2 + at, true)));
        let (held, refused): (Vec<_>, Vec<_>) = in_time(three).await.into_iter().partition(Result::is_ok);
        assert_eq!((held.len(), refused.len()), (1, 2), "one learner is what there may be");
        for error in refused {
            assert_eq!(error.unwrap_err(), ClusterError::TooManyLearners { max: 1 });
        }
        let both = futures::future::join(add(0, new, false), add(1, new + 1, false));
        let (one, other) = in_time(both).await;
        let added = [one.unwrap().id, other.unwrap().id, held.into_iter().next().unwrap().unwrap().id];
        let known = in_time(members.store(2).members(true)).await.unwrap();
        assert_eq!(known.len(), 6);
        assert!(added.iter().all(|id| known.iter().any(|member| member.id == *id)));
        let removed = added.iter().zip(0..).map(|(id, at)| members.store(at).member_remove(*id));
        for result in in_time(futures::future::join_all(removed)).await {
            result.unwrap();
        }
        assert_eq!(in_time(members.store(1).members(true)).await.unwrap().len(), 3);
    }
    members.close().await;
}
