//! Field owners in the path of a write: who is told as the owner, and which fields the write cannot change.

use super::{Target, timestamp};
use crate::json::{self, Strictness};
use crate::kind::Kind;
use crate::object::Meta;
use crate::ownership::{self, Application, FieldSet, LayError, Shape, Writing};
use crate::structural::Structural;
use crate::value::Value;
use mainstay_proto_api::Status;
use time::OffsetDateTime;

/// Whose write it is, as far as field ownership goes.
#[derive(Debug, Clone, Copy)]
pub struct Author<'a> {
    /// The manager's name: the `fieldManager` parameter, or what the client calls itself.
    pub manager: &'a str,
    /// Now.
    pub now: OffsetDateTime,
}

fn subresource(target: Target<'_>) -> &str {
    match target {
        Target::Object => "",
        Target::Status => "status",
        Target::Part(name) => name,
    }
}

/// The shape of the kind's objects; `structural` is the schema of a custom kind.
fn shape<'s>(kind: &Kind, structural: Option<&'s Structural>) -> Shape<'s> {
    structural.map_or_else(|| Shape::of(kind.schema()), |schema| Shape::of_custom(kind.schema(), schema))
}

/// Sets the owners of `new`, which a create (`old` is an empty map) or update wants in place of `old`. Comes after
/// [`super::accept`] and before mutating admission, as upstream does it.
pub fn track(kind: &Kind, target: Target<'_>, new: &mut Value, old: &Value, author: Author<'_>) {
    if !kind.is_stored() {
        return;
    }
    let reset = FieldSet::of_names(kind.rules.reset_fields(target));
    let writing = Writing {
        manager: author.manager,
        api_version: &kind.api_version(),
        subresource: subresource(target),
        now: &timestamp(author.now),
        reset: &reset,
    };
    let structural = kind.rules.structural();
    ownership::track_update(shape(kind, structural.as_deref()), old, new, &writing);
}

/// The object that an apply of `config` makes of `live`, an empty map when nothing is stored. Its owners are set.
///
/// # Errors
/// 400 for another kind or version than the request's; 409 for conflicts; 500 as upstream has it for a config that does
/// not fit the schema.
pub fn apply(
    kind: &Kind,
    target: Target<'_>,
    live: &Value,
    config: &Value,
    author: Author<'_>,
    force: bool,
) -> Result<Value, Status> {
    let stated = Meta(config);
    if stated.api_version() != kind.api_version() || stated.kind() != kind.kind {
        let version = stated.api_version();
        let slash = if version.contains('/') { "" } else { "/" };
        return Err(Status::bad_request(format!(
            "invalid object type: {slash}{version}, Kind={}",
            stated.kind()
        )));
    }
    let reset = FieldSet::of_names(kind.rules.reset_fields(target));
    let writing = Writing {
        manager: author.manager,
        api_version: &kind.api_version(),
        subresource: subresource(target),
        now: &timestamp(author.now),
        reset: &reset,
    };
    let structural = kind.rules.structural();
    let shape = shape(kind, structural.as_deref());
    let merged = ownership::apply(Application { shape, live, config, writing, force })
        .map_err(|error| error.to_status())?;
    let decoded = json::conform(&merged, kind.schema(), Strictness::Ignore)
        .map_err(|error| Status::failure(500, "", format!("failed to convert new object: {error}")))?;
    Ok(decoded.value)
}

/// `live` with what a mutating policy states (`config`, of the same version and kind) laid over it. Owners play no part.
///
/// # Errors
/// A config that does not fit the schema, or that states what is owned as a whole.
pub fn lay_over(kind: &Kind, live: &Value, config: &Value) -> Result<Value, LayError> {
    let structural = kind.rules.structural();
    ownership::lay_over(shape(kind, structural.as_deref()), live, config)
}
