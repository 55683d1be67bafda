//! [`apply`]: server-side apply. What the client states is merged into the object; what it stated the last time and does
//! not state now goes, unless somebody else owns it; what it changes must not be somebody else's, unless it insists.

use super::check::check;
use super::collect::field_set;
use super::compare::compare;
use super::conflict::{Conflict, conflict_status, conflicts};
use super::element::same;
use super::field_set::FieldSet;
use super::last_applied;
use super::managers::{Fields, Managed, ManagedError, ManagerId, Operation, Owner, Writing};
use super::merge::merge;
use super::prune::without;
use super::shape::Shape;
use super::typed_error::TypedError;
use super::update::{ownable, take_over};
use crate::object::{Meta, MetaMut};
use crate::value::Value;
use mainstay_proto_api::Status;

/// Who owned fields before the first apply to an object whose owners were not followed.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// One apply.
#[derive(Debug, Clone, Copy)]
pub struct Application<'a> {
    /// The object's type.
    pub shape: Shape<'a>,
    /// The object that is stored; an empty map when there is none.
    pub live: &'a Value,
    /// What the client applies.
    pub config: &'a Value,
    /// Whose write it is.
    pub writing: Writing<'a>,
    /// Whether to take fields from other owners.
    pub force: bool,
}

/// Why an apply failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Fields are somebody else's.
    #[error("{} conflicts", .0.len())]
    Conflicts(Vec<Conflict>),
    /// The client states owners.
    #[error("metadata.managedFields must be nil")]
    OwnersStated,
    /// What the client states does not fit the schema.
    #[error("failed to create typed patch object ({object}): {source}")]
    Config {
        /// Namespace, name and kind.
        object: String,
        /// Where and why.
        source: TypedError,
    },
    /// The stored object does not fit the schema.
    #[error("failed to create typed live object ({object}): {source}")]
    Live {
        /// Namespace, name and kind.
        object: String,
        /// Where and why.
        source: TypedError,
    },
    /// The stored owners cannot be read.
    #[error("failed to decode managed fields: {0}")]
    Owners(#[from] ManagedError),
}

impl ApplyError {
    /// The Status that the client gets; what upstream does not foresee has no reason and the code 500.
    pub fn to_status(&self) -> Status {
        match self {
            Self::Conflicts(conflicts) => conflict_status(conflicts),
            Self::OwnersStated => Status::bad_request(self.to_string()),
            other => Status::failure(500, "", other.to_string()),
        }
    }
}

/// The object after an apply, with its owners, before it is decoded and defaulted again.
///
/// # Errors
/// Conflicts; a config or an object that does not fit the schema.
pub fn apply(application: Application<'_>) -> Result<Value, ApplyError> {
    let Application { shape, live, config, writing, .. } = application;
    if config.path(&["metadata", "managedFields"]).is_some_and(|value| !value.is_null()) {
        return Err(ApplyError::OwnersStated);
    }
    check(shape, config)
        .map_err(|source| ApplyError::Config { object: described(config, &writing), source })?;
    let mut managed = Managed::stored(Meta(live).managed_fields())?;
    let unreadable = |source| ApplyError::Live { object: described(live, &writing), source };
    if managed.is_empty() {
        let nothing = Value::map();
        let changes = compare(shape, &nothing, live).map_err(unreadable)?.without(writing.reset);
        let before = Writing { manager: BEFORE_FIRST_APPLY, ..writing };
        if !Meta(live).uid().is_empty() {
            take_over(&mut managed, &changes, before.id(Operation::Update), &before);
        }
    }
    let (mut object, managed) = match merged(&application, managed.clone()) {
        Err(ApplyError::Conflicts(found)) if writing.manager == last_applied::KUBECTL => {
            let left = last_applied::unexplained(found, shape, live, writing.api_version);
            if !left.is_empty() {
                return Err(ApplyError::Conflicts(left));
            }
            merged(&Application { force: true, ..application }, managed)?
        }
        other => other?,
    };
    if writing.manager == last_applied::KUBECTL {
        last_applied::refresh(&mut object, config);
    }
    let owners = managed.into_entries();
    let mut meta = MetaMut(&mut object);
    meta.remove("managedFields");
    if !owners.is_empty() {
        meta.map().insert("managedFields", owners);
    }
    Ok(object)
}

/// `namespace/name; group/version, Kind=kind`, as upstream names an object.
fn described(object: &Value, writing: &Writing<'_>) -> String {
    let meta = Meta(object);
    let version = if meta.api_version().is_empty() { writing.api_version } else { meta.api_version() };
    let version = if version.contains('/') { version.to_owned() } else { format!("/{version}") };
    format!("{}/{}; {version}, Kind={}", meta.namespace(), meta.name(), meta.kind())
}

fn merged<'v>(
    application: &Application<'_>,
    mut managed: Managed<'v>,
) -> Result<(Value, Managed<'v>), ApplyError> {
    let Application { shape, live, config, writing, force } = *application;
    let bad_config = |source| ApplyError::Config { object: described(config, &writing), source };
    let bad_live = |source| ApplyError::Live { object: described(live, &writing), source };
    let id = writing.id(Operation::Apply);
    let object = merge(shape, live, config).map_err(bad_config)?;
    let claimed = field_set(shape, config).map_err(bad_config)?.difference_below(writing.reset);
    let last = managed.find(&id).map(|owner| owner.fields.set().into_owned());
    let last_time = managed.find(&id).and_then(|owner| owner.time.clone());
    managed.owners.retain(|owner| owner.id != id);
    managed.owners.push(Owner {
        id: id.clone(),
        api_version: writing.api_version.into(),
        time: last_time,
        fields: Fields::Set(claimed),
    });
    let object = prune(shape, object, &managed, last.as_ref()).map_err(bad_live)?;
    let changes = compare(shape, live, &object).map_err(bad_live)?.without(writing.reset);
    let taken = changes.modified.union(&changes.added);
    if !force {
        let sets = contested(&managed, &taken, &id);
        if !sets.is_empty() {
            return Err(ApplyError::Conflicts(conflicts(sets)));
        }
    }
    managed.release(&taken.union(&changes.removed), Some(&id));
    let is_new_state = !same(live, &object);
    managed.owners.retain_mut(|owner| {
        if owner.id != id {
            return true;
        }
        let set = ownable(&owner.fields.set());
        let kept = !set.is_empty();
        owner.fields = Fields::Set(set);
        if is_new_state {
            owner.time = Some(writing.now.into());
        }
        kept
    });
    Ok((object, managed))
}

/// What others own of what an apply changes.
fn contested(managed: &Managed<'_>, taken: &FieldSet, id: &ManagerId) -> Vec<(ManagerId, FieldSet)> {
    let others = managed.owners.iter().filter(|owner| owner.id != *id);
    let sets = others.filter_map(|owner| {
        if let Fields::Stored(value) = &owner.fields
            && !taken.meets(value)
        {
            return None;
        }
        let set = owner.fields.set().intersection(taken);
        (!set.is_empty()).then(|| (owner.id.clone(), set))
    });
    sets.collect()
}

/// Takes out what the client applied the last time and nobody claims now.
fn prune(
    shape: Shape<'_>,
    merged: Value,
    managed: &Managed<'_>,
    last: Option<&FieldSet>,
) -> Result<Value, TypedError> {
    let Some(last) = last.filter(|last| !last.is_empty()) else { return Ok(merged) };
    let last = last.with_declared_parents(shape);
    let pruned = without(shape, &merged, &last);
    if same(&pruned, &merged) {
        return Ok(merged);
    }
    // What somebody owns comes back, with all that leads to it.
    let mut owned = FieldSet::new();
    for owner in &managed.owners {
        owned = owned.union(&owner.fields.set());
    }
    let all = field_set(shape, &merged)?.with_declared_parents(shape);
    let left = field_set(shape, &pruned)?.with_declared_parents(shape);
    let doomed = all.difference(&left.union(&owned.with_declared_parents(shape)));
    let pruned = without(shape, &merged, &doomed);
    // What the client never applied comes back too, though nobody owns it.
    let left = field_set(shape, &pruned)?.with_declared_parents(shape);
    let doomed = all.difference(&left).intersection(&last);
    Ok(without(shape, &merged, &doomed))
}
