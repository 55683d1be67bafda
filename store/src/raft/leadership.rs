//! What consensus says about who leads, in the store's words.
use openraft::metrics::RaftServerMetrics;

use super::types::TypeConfig;
use crate::api::Leadership;

/// The leadership that these metrics tell of.
pub(super) fn of(metrics: &RaftServerMetrics<TypeConfig>) -> Leadership {
    let membership = metrics.membership_config.membership();
    let is_voter = membership.voter_ids().any(|voter| voter == metrics.id);
    Leadership {
        leader: metrics.current_leader,
        term: metrics.vote.leader_id().term,
        is_leader: metrics.state.is_leader(),
        is_learner: !is_voter && membership.nodes().next().is_some(),
    }
}
