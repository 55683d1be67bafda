//! What members say of themselves: one leader in a term, the same history everywhere.
use std::collections::BTreeMap;

use mainstay_store::Revision;

use super::{Archive, State};

/// What a member says at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// Which member.
    pub member: usize,
    /// How often it had been started.
    pub incarnation: u64,
    /// Its term.
    pub term: u64,
    /// Whether it takes itself for the leader of that term.
    pub leads: bool,
    /// Its revision.
    pub revision: Revision,
}

/// Gathers views while a run goes on.
#[derive(Clone, Debug, Default)]
pub struct Members {
    leaders: BTreeMap<u64, usize>,
    last: BTreeMap<usize, MemberView>,
    problems: Vec<String>,
}

impl Members {
    /// Takes a view.
    pub fn look(&mut self, view: MemberView) {
        if view.leads {
            let leader = *self.leaders.entry(view.term).or_insert(view.member);
            if leader != view.member {
                self.problems.push(format!(
                    "term {} has two leaders: members {leader} and {}",
                    view.term, view.member
                ));
            }
        }
        if let Some(last) = self.last.get(&view.member)
            && last.incarnation == view.incarnation
            && (view.revision < last.revision || view.term < last.term)
        {
            self.problems.push(format!("member {} goes back from {last:?} to {view:?}", view.member));
        }
        self.last.insert(view.member, view);
    }

    /// What was wrong.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// The terms that had a leader, with it.
    pub fn leaders(&self) -> &BTreeMap<u64, usize> {
        &self.leaders
    }
}

/// Whether the keys of all members (each with the revision that they were read at) are what the history says.
pub fn check_members(contents: &[(usize, Revision, State)], archive: &Archive) -> Vec<String> {
    let mut problems = Vec::new();
    archive.each_state(|revision, state, _| {
        for (member, _, content) in contents.iter().filter(|(_, at, _)| *at == revision) {
            if content != state {
                problems.push(format!(
                    "member {member} has {content:?} at revision {revision}, history says {state:?}"
                ));
            }
        }
    });
    for (member, at, _) in contents.iter().filter(|(_, at, _)| *at > archive.last()) {
        problems.push(format!("member {member} is at revision {at}, history ends at {}", archive.last()));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(member: usize, term: u64, revision: i64) -> MemberView {
        MemberView { member, incarnation: 1, term, leads: true, revision: Revision(revision) }
    }

    #[test]
    fn two_leaders_of_one_term_are_found() {
        let mut members = Members::default();
        members.look(view(0, 1, 1));
        members.look(view(1, 2, 1));
        assert!(members.problems().is_empty());
        members.look(view(2, 2, 1));
        assert!(members.problems()[0].contains("two leaders"));
    }

    #[test]
    fn a_revision_that_goes_back_is_found_unless_the_member_was_restarted() {
        let mut members = Members::default();
        members.look(view(0, 1, 9));
        members.look(MemberView { incarnation: 2, ..view(0, 1, 5) });
        assert!(members.problems().is_empty());
        members.look(MemberView { incarnation: 2, ..view(0, 1, 4) });
        assert!(members.problems()[0].contains("goes back"));
    }

    #[test]
    fn a_member_with_other_keys_is_found() {
        let content = State::from([("x".into(), mainstay_store::KeyValue::default())]);
        assert_eq!(check_members(&[(1, Revision(1), content)], &Archive::default()).len(), 1);
        assert!(check_members(&[(1, Revision(1), State::new())], &Archive::default()).is_empty());
    }
}
