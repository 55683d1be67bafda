//! [`Conflict`]: a field that an apply would change and that somebody else owns, and the Status that tells of it in the
//! form that kubectl reads.

use super::element::Element;
use super::field_set::FieldSet;
use super::managers::ManagerId;
use mainstay_proto_api::{Status, StatusCause, StatusDetails};

/// One field that somebody else owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Who owns it.
    pub owner: ManagerId,
    /// The field.
    pub path: Vec<Element>,
}

impl Conflict {
    fn field(&self) -> String {
        self.path.iter().map(Element::to_string).collect()
    }
}

/// The conflicts with each owner, by owner.
pub(super) fn conflicts(mut sets: Vec<(ManagerId, FieldSet)>) -> Vec<Conflict> {
    sets.sort_by_key(|(owner, _)| owner.sort_key());
    let mut all = Vec::new();
    for (owner, set) in &sets {
        set.each(&mut |path| all.push(Conflict { owner: owner.clone(), path: path.to_vec() }));
    }
    all
}

/// The 409 about conflicts, one cause each.
pub fn conflict_status(conflicts: &[Conflict]) -> Status {
    let causes = conflicts.iter().map(|conflict| StatusCause {
        reason: "FieldManagerConflict".into(),
        message: format!("conflict with {}", conflict.owner),
        field: conflict.field().into(),
    });
    let details = StatusDetails { causes: causes.collect(), ..StatusDetails::default() };
    Status::failure(409, "Conflict", message(conflicts)).with_details(details)
}

fn message(conflicts: &[Conflict]) -> String {
    if let [one] = conflicts {
        return format!("Apply failed with 1 conflict: conflict with {}: {}", one.owner, one.field());
    }
    let mut lines = Vec::with_capacity(conflicts.len() + 1);
    for group in conflicts.chunk_by(|a, b| a.owner == b.owner) {
        lines.extend(group.first().map(|first| format!("conflicts with {}:", first.owner)));
        lines.extend(group.iter().map(|conflict| format!("- {}", conflict.field())));
    }
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
}
