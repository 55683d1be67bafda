//! Changes of members, decided by the leader without IO: `plan(world, change)` says what to ask of consensus, or why not.
//!
//! A member that is added with a vote begins as a learner with its vote due, and gets it once it has caught up: until then it costs the
//! cluster no quorum, even if it never starts. Source of the rules: etcd's strict reconfiguration checks.
use std::collections::{BTreeMap, BTreeSet};

use openraft::ChangeMembers;

use super::identity::member_id;
use super::types::{MemberNode, Membership};
use crate::api::{ClusterError, Member};

/// A learner that has this part of the leader's log (in percent) may be promoted.
const READY_PERCENT: u64 = 90;
/// A member whose vote is due gets it when it lacks at most so many entries.
const LAG_MAX: u64 = 1000;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Add {
        peer_urls: Vec<String>,
        learner: bool,
    },
    Remove(u64),
    Update {
        id: u64,
        peer_urls: Vec<String>,
    },
    Promote(u64),
    /// A member tells what it is called and where its clients reach it.
    Publish {
        id: u64,
        name: String,
        client_urls: Vec<String>,
    },
}

/// What the leader knows.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) membership: Membership,
    /// How far each member's log agrees with the leader's.
    pub(crate) matched: BTreeMap<u64, u64>,
    pub(crate) last_index: u64,
    /// The members that answered lately, the leader included.
    pub(crate) alive: BTreeSet<u64>,
    pub(crate) learners_max: usize,
    /// Whether a change is refused that could cost the cluster its majority.
    pub(crate) strict: bool,
    pub(crate) unix_seconds: u64,
}

/// What to ask of consensus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The member that it is about.
    pub(crate) id: u64,
    /// None if all is as it should be already.
    pub(crate) change: Option<ChangeMembers<u64, MemberNode>>,
}

/// Decides about a change.
pub(crate) fn plan(world: &World, change: &Change) -> Result<Step, ClusterError> {
    match change {
        Change::Add { peer_urls, learner } => add(world, peer_urls, *learner),
        Change::Remove(id) => remove(world, *id),
        Change::Update { id, peer_urls } => {
            let node = world.node(*id)?;
            let peer_urls = sorted(peer_urls)?;
            world.check_urls_free(&peer_urls, Some(*id))?;
            Ok(set(*id, &node, MemberNode { peer_urls, ..node.clone() }))
        }
        Change::Promote(id) => promote(world, *id),
        Change::Publish { id, name, client_urls } => {
            let node = world.node(*id)?;
            let (name, client_urls) = (name.clone(), client_urls.clone());
            Ok(set(*id, &node, MemberNode { name, client_urls, ..node.clone() }))
        }
    }
}

/// The member whose vote is due and can be given now, if there is one.
pub(crate) fn vote_due(world: &World) -> Option<Step> {
    let due = |(id, node): (&u64, &MemberNode)| {
        let caught_up = world.matched.get(id).is_some_and(|matched| matched + LAG_MAX >= world.last_index);
        (node.vote_due && !world.is_voter(*id) && caught_up && world.alive.contains(id)).then_some(*id)
    };
    let id = world.membership.nodes().find_map(due)?;
    Some(Step { id, change: Some(give_vote(world, id)) })
}

/// The rest of a change of votes that needed two entries and has only the first of them; `asked` is the member that asks.
pub(crate) fn half_done(world: &World, asked: u64) -> Option<Step> {
    let is_half = world.membership.get_joint_config().len() > 1;
    is_half.then(|| Step { id: asked, change: Some(ChangeMembers::AddVoterIds(BTreeSet::new())) })
}

/// The members as callers see them, by identifier.
pub(crate) fn list(membership: &Membership) -> Vec<Member> {
    let voters: BTreeSet<u64> = membership.voter_ids().collect();
    let member = |(id, node): (&u64, &MemberNode)| Member {
        id: *id,
        name: node.name.clone(),
        peer_urls: node.peer_urls.clone(),
        client_urls: node.client_urls.clone(),
        is_learner: !voters.contains(id) && !node.vote_due,
    };
    membership.nodes().map(member).collect()
}

impl World {
    fn node(&self, id: u64) -> Result<MemberNode, ClusterError> {
        self.membership.get_node(&id).cloned().ok_or(ClusterError::MemberNotFound(id))
    }

    fn is_voter(&self, id: u64) -> bool {
        self.membership.voter_ids().any(|voter| voter == id)
    }

    fn voters(&self) -> BTreeSet<u64> {
        self.membership.voter_ids().collect()
    }

    /// A member has started if it has told its name.
    fn started(&self, voters: &BTreeSet<u64>) -> usize {
        let named = |id: &&u64| self.membership.get_node(id).is_some_and(|node| !node.name.is_empty());
        voters.iter().filter(named).count()
    }

    fn check_urls_free(&self, urls: &[String], except: Option<u64>) -> Result<(), ClusterError> {
        for (id, node) in self.membership.nodes() {
            if Some(*id) == except {
                continue;
            }
            if let Some(taken) = urls.iter().find(|url| node.peer_urls.contains(url)) {
                return Err(ClusterError::PeerUrlExists(taken.clone()));
            }
        }
        Ok(())
    }
}

fn add(world: &World, peer_urls: &[String], learner: bool) -> Result<Step, ClusterError> {
    let peer_urls = sorted(peer_urls)?;
    world.check_urls_free(&peer_urls, None)?;
    let id = member_id(&peer_urls, "", Some(world.unix_seconds));
    if world.membership.get_node(&id).is_some() {
        return Err(ClusterError::MemberExists(id));
    }
    let voters = world.voters();
    if learner {
        let learners = list(&world.membership).iter().filter(|member| member.is_learner).count();
        if learners >= world.learners_max {
            return Err(ClusterError::TooManyLearners { max: world.learners_max });
        }
    }
    if world.strict {
        check_quorum_with_another(world, &voters, learner)?;
    }
    let node = MemberNode { peer_urls, vote_due: !learner, ..MemberNode::default() };
    Ok(Step { id, change: Some(ChangeMembers::AddNodes(BTreeMap::from([(id, node)]))) })
}

/// A majority must be there that would be one still with another member that is not. Whoever is alone may take in another.
fn check_quorum_with_another(
    world: &World,
    voters: &BTreeSet<u64>,
    learner: bool,
) -> Result<(), ClusterError> {
    let waiting = world.membership.nodes().filter(|(_, node)| node.vote_due).count();
    let before = voters.len() + waiting;
    if before == 1 {
        return Ok(());
    }
    let quorum = before.div_ceil(2) + 1;
    if !learner && world.started(voters) < quorum {
        return Err(ClusterError::NotEnoughStarted);
    }
    let is_there =
        |(id, node): &(&u64, &MemberNode)| (node.vote_due || voters.contains(id)) && world.alive.contains(id);
    if world.membership.nodes().filter(is_there).count() < quorum {
        return Err(ClusterError::Unhealthy);
    }
    Ok(())
}

fn remove(world: &World, id: u64) -> Result<Step, ClusterError> {
    world.node(id)?;
    if !world.is_voter(id) {
        return Ok(Step { id, change: Some(ChangeMembers::RemoveNodes(BTreeSet::from([id]))) });
    }
    let mut rest = world.voters();
    rest.remove(&id);
    let quorum = rest.len() / 2 + 1;
    // Nobody would be left: no rule to be lenient about.
    if rest.is_empty() || (world.strict && world.started(&rest) < quorum) {
        return Err(ClusterError::NotEnoughStarted);
    }
    // A member that is down can always go; one that is up must not be what the quorum stands on.
    if world.strict && world.alive.contains(&id) && rest.intersection(&world.alive).count() < quorum {
        return Err(ClusterError::Unhealthy);
    }
    Ok(Step { id, change: Some(ChangeMembers::RemoveVoters(BTreeSet::from([id]))) })
}

fn promote(world: &World, id: u64) -> Result<Step, ClusterError> {
    world.node(id)?;
    if world.is_voter(id) {
        return Err(ClusterError::NotLearner(id));
    }
    let matched = world.matched.get(&id).copied().unwrap_or(0);
    if matched * 100 < world.last_index * READY_PERCENT || !world.alive.contains(&id) {
        return Err(ClusterError::LearnerNotReady(id));
    }
    let voters = world.voters();
    if world.strict && world.started(&voters) + 1 < voters.len().div_ceil(2) + 1 {
        return Err(ClusterError::NotEnoughStarted);
    }
    Ok(Step { id, change: Some(give_vote(world, id)) })
}

fn give_vote(world: &World, id: u64) -> ChangeMembers<u64, MemberNode> {
    let node = world.membership.get_node(&id).cloned().unwrap_or_default();
    let settled = MemberNode { vote_due: false, ..node.clone() };
    let vote = ChangeMembers::AddVoterIds(BTreeSet::from([id]));
    if node.vote_due {
        ChangeMembers::Batch(vec![ChangeMembers::SetNodes(BTreeMap::from([(id, settled)])), vote])
    } else {
        vote
    }
}

fn set(id: u64, before: &MemberNode, after: MemberNode) -> Step {
    let change = (*before != after).then(|| ChangeMembers::SetNodes(BTreeMap::from([(id, after)])));
    Step { id, change }
}

fn sorted(urls: &[String]) -> Result<Vec<String>, ClusterError> {
    let usable = |url: &&String| {
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        rest.is_none_or(|rest| rest.is_empty() || rest.contains('/'))
    };
    if let Some(bad) = urls.iter().find(usable) {
        return Err(ClusterError::BadUrl(bad.clone()));
    }
    if urls.is_empty() {
        return Err(ClusterError::BadUrl(String::new()));
    }
    let mut urls = urls.to_vec();
    urls.sort_unstable();
    urls.dedup();
    Ok(urls)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u64) -> MemberNode {
        let peer_urls = vec![format!("http://m{id}:2380")];
        MemberNode { name: format!("m{id}"), peer_urls, ..MemberNode::default() }
    }

    /// Voters 1 to `voters`, all started and alive.
    fn world(voters: u64) -> World {
        let ids: BTreeSet<u64> = (1..=voters).collect();
        let nodes: BTreeMap<u64, MemberNode> = ids.iter().map(|id| (*id, node(*id))).collect();
        World {
            membership: Membership::new(vec![ids.clone()], nodes).unwrap(),
            matched: ids.iter().map(|id| (*id, 5000)).collect(),
            last_index: 5000,
            alive: ids,
            learners_max: 1,
            strict: true,
            unix_seconds: 1_700_000_000,
        }
    }

    fn with_node(mut world: World, id: u64, node: MemberNode) -> World {
        let mut nodes: BTreeMap<u64, MemberNode> =
            world.membership.nodes().map(|(id, node)| (*id, node.clone())).collect();
        nodes.insert(id, node);
        world.membership = Membership::new(world.membership.get_joint_config().clone(), nodes).unwrap();
        world
    }

    fn addition(url: &str, learner: bool) -> Change {
        Change::Add { peer_urls: vec![url.into()], learner }
    }

    #[test]
    fn a_new_voter_begins_as_a_learner_whose_vote_is_due() {
        let step = plan(&world(3), &addition("http://m4:2380", false)).unwrap();
        let Some(ChangeMembers::AddNodes(nodes)) = step.change else { panic!("{step:?}") };
        assert!(nodes[&step.id].vote_due);
        let waiting = with_node(world(3), step.id, nodes[&step.id].clone());
        assert!(!list(&waiting.membership).iter().any(|member| member.is_learner));
        assert_eq!(vote_due(&waiting), None, "it has not started");
        let mut ready = waiting;
        ready.alive.insert(step.id);
        ready.matched.insert(step.id, 4500);
        assert_eq!(vote_due(&ready).unwrap().id, step.id);
    }

    #[test]
    fn additions_are_refused_for_etcds_reasons() {
        let refused = |world: &World, change: &Change| plan(world, change).unwrap_err();
        let taken = addition("http://m2:2380", false);
        assert_eq!(refused(&world(3), &taken), ClusterError::PeerUrlExists("http://m2:2380".into()));
        for bad in ["m4:2380", "http://", "http://m4:2380/path"] {
            assert_eq!(refused(&world(3), &addition(bad, false)), ClusterError::BadUrl(bad.into()));
        }
        let mut down = world(3);
        down.alive = BTreeSet::from([1]);
        assert_eq!(refused(&down, &addition("http://m4:2380", false)), ClusterError::Unhealthy);
        let silent = with_node(world(2), 2, MemberNode { name: String::new(), ..node(2) });
        assert_eq!(refused(&silent, &addition("http://m4:2380", false)), ClusterError::NotEnoughStarted);
        let learner = with_node(world(3), 9, node(9));
        let second = addition("http://m4:2380", true);
        assert_eq!(refused(&learner, &second), ClusterError::TooManyLearners { max: 1 });
        assert!(plan(&world(1), &addition("http://m4:2380", false)).is_ok(), "the first of two");
    }

    /// etcd's own cases: the member that is added counts as one that is not there, learner or not.
    #[test]
    fn an_addition_while_members_are_down_leaves_a_majority() {
        let cases = [(1, 0, true), (3, 0, true), (3, 1, false), (4, 1, true), (5, 1, true), (5, 2, false)];
        for (voters, down, allowed) in cases {
            let mut world = world(voters);
            world.alive = (1..=voters - down).collect();
            for learner in [false, true] {
                let expected = if allowed { None } else { Some(ClusterError::Unhealthy) };
                let refused = plan(&world, &addition("http://m9:2380", learner)).err();
                assert_eq!(refused, expected, "{down} of {voters} down, learner: {learner}");
            }
            world.strict = false;
            assert!(plan(&world, &addition("http://m9:2380", true)).is_ok());
        }
    }

    #[test]
    fn whoever_wants_it_may_lose_the_majority_but_not_the_last_member() {
        let mut world = world(3);
        world.strict = false;
        world.alive = BTreeSet::from([1, 2]);
        assert!(plan(&world, &Change::Remove(2)).is_ok());
        let alone = World { strict: false, ..self::world(1) };
        assert_eq!(plan(&alone, &Change::Remove(1)), Err(ClusterError::NotEnoughStarted));
    }

    #[test]
    fn removals_keep_a_quorum() {
        assert!(plan(&world(3), &Change::Remove(2)).is_ok());
        assert_eq!(plan(&world(3), &Change::Remove(9)), Err(ClusterError::MemberNotFound(9)));
        assert_eq!(plan(&world(1), &Change::Remove(1)), Err(ClusterError::NotEnoughStarted));
        let mut down = world(3);
        down.alive = BTreeSet::from([1, 2]);
        assert!(plan(&down, &Change::Remove(3)).is_ok(), "it is down");
        assert_eq!(plan(&down, &Change::Remove(2)), Err(ClusterError::Unhealthy));
    }

    #[test]
    fn a_learner_is_promoted_when_it_has_caught_up() {
        let mut world = with_node(world(3), 9, node(9));
        assert_eq!(plan(&world, &Change::Promote(1)), Err(ClusterError::NotLearner(1)));
        assert_eq!(plan(&world, &Change::Promote(9)), Err(ClusterError::LearnerNotReady(9)));
        world.alive.insert(9);
        world.matched.insert(9, 4600);
        assert!(plan(&world, &Change::Promote(9)).unwrap().change.is_some());
    }

    #[test]
    fn a_change_of_votes_that_is_half_done_is_brought_to_its_end() {
        assert_eq!(half_done(&world(3), 1), None);
        let mut half = world(3);
        let nodes: BTreeMap<u64, MemberNode> =
            half.membership.nodes().map(|(id, node)| (*id, node.clone())).collect();
        half.membership =
            Membership::new(vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([1, 2])], nodes).unwrap();
        let rest = half_done(&half, 1).unwrap();
        assert_eq!(rest.change, Some(ChangeMembers::AddVoterIds(BTreeSet::new())));
    }

    #[test]
    fn what_is_so_already_changes_nothing() {
        let publish = Change::Publish { id: 2, name: "m2".into(), client_urls: vec![] };
        assert_eq!(plan(&world(3), &publish), Ok(Step { id: 2, change: None }));
    }
}
