//! PATCH: JSON patch, merge patch, strategic merge patch, server-side apply.

use http::header::CONTENT_TYPE;
use mainstay_apiserver_machinery::json::{self, Strictness};
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::pipeline::{self, Author, Target};
use mainstay_apiserver_machinery::schema::Type;
use mainstay_apiserver_machinery::validation::{ErrorList, Path};
use mainstay_apiserver_machinery::value::Value;
use mainstay_apiserver_machinery::{patch, yaml};
use mainstay_proto_api::{PatchType, Status};

use super::options::WriteOptions;
use super::{Call, FieldOwner, update};
use crate::authz::forbidden;
use crate::encoding::Allow;
use crate::request::{DecodedObject, prune_unknown};
use crate::types::{Body, Response};

/// A patch that is read, ready to be applied again and again.
pub(super) struct Patch {
    form: PatchType,
    pub(super) value: Value,
    /// Sentences about the patch itself.
    pub(super) warnings: Vec<String>,
}

impl Patch {
    /// The type that the request's content type names.
    pub(super) fn type_of(call: &Call<'_>) -> Result<PatchType, Status> {
        let header = call.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let utf8 = !header.to_ascii_lowercase().contains("charset=utf-16");
        // Custom resources have no strategic merge; the Scale of one has.
        let is_plain = call.kind.is_custom && call.info().subresource != "scale";
        let offered = |one: &PatchType| !(is_plain && *one == PatchType::StrategicMerge);
        let patch_type = PatchType::from_content_type(header).filter(|one| utf8 && offered(one));
        patch_type.ok_or_else(|| {
            let types = PatchType::ALL.into_iter().filter(offered).map(PatchType::content_type);
            Status::unsupported_media_type(&types.collect::<Vec<_>>())
        })
    }

    /// Reads a patch of that type.
    pub(super) fn read(patch_type: PatchType, body: &[u8], strictness: Strictness) -> Result<Self, Status> {
        let told = if strictness == Strictness::Ignore { Strictness::Ignore } else { Strictness::Warn };
        let (decoded, prefix) = match patch_type {
            PatchType::Apply => (yaml::decode(body, None, told), "error encoding patch"),
            _ => (json::decode(body, None, told), "invalid JSON patch"),
        };
        let decoded = decoded.map_err(|error| Status::bad_request(format!("{prefix}: {error}")))?;
        let (value, mut warnings) = (decoded.value, decoded.warnings);
        let told_mistyped = |why: String| Status::bad_request(format!("error decoding patch: {why}"));
        match patch_type {
            PatchType::Json if told == Strictness::Warn => {
                warnings = check_operations(&value, warnings).map_err(told_mistyped)?;
            }
            PatchType::Json => {}
            _ if value.as_map().is_some() => {}
            PatchType::StrategicMerge => return Err(Status::bad_request(no_map(&value))),
            PatchType::Merge | PatchType::Apply => return Err(told_mistyped(no_map(&value))),
        }
        if patch_type == PatchType::Apply && strictness == Strictness::Strict && !warnings.is_empty() {
            let text = warnings.join(", ");
            return Err(Status::bad_request(format!("error strict decoding patch: {text}")));
        }
        Ok(Self { form: patch_type, value, warnings })
    }

    /// The patched object, before its fields are checked. An apply is no change of an object alone: see
    /// [`pipeline::apply`].
    pub(super) fn apply(&self, old: &Value, schema: &'static Type) -> Result<Value, Status> {
        let patched = match self.form {
            PatchType::Json => patch::json_patch(old, &self.value),
            PatchType::Merge => patch::merge_patch(old, &self.value),
            PatchType::StrategicMerge => patch::strategic_merge(old, &self.value, schema),
            PatchType::Apply => return Err(Status::internal("an apply without owners")),
        };
        patched.map_err(|error| error.to_status())
    }

    /// Reads a patched tree as if it had been sent, with what there is to say of the fields in it and in the patch: types
    /// are checked, unknown fields are found, also those that only the rules of `kind` know of.
    pub(super) fn conformed(
        &self,
        patched: &Value,
        (schema, kind): (&'static Type, Option<&'static Kind>),
        strictness: Strictness,
    ) -> Result<(Value, Vec<String>), Status> {
        let told = if strictness == Strictness::Ignore { Strictness::Ignore } else { Strictness::Warn };
        let read = json::conform(patched, schema, told).and_then(|decoded| {
            let mut decoded = DecodedObject { object: decoded.value, warnings: decoded.warnings };
            kind.map_or(Ok(()), |kind| prune_unknown(kind, &mut decoded, told))?;
            let warnings = [self.warnings.as_slice(), &decoded.warnings].concat();
            match strictness {
                Strictness::Strict if !warnings.is_empty() => Err(json::DecodeError::Strict(warnings)),
                _ => Ok((decoded.object, warnings)),
            }
        });
        read.map_err(|error| {
            let shown = match self.form {
                PatchType::StrategicMerge => go_text(&self.value),
                _ => json::to_string(patched),
            };
            let mut errors = ErrorList::new();
            errors.invalid(&Path::new("patch"), shown, &error.to_string());
            errors.into_status("", "", "").unwrap_or_else(|| Status::internal(error))
        })
    }
}

fn no_map(value: &Value) -> String {
    format!("json: cannot unmarshal {} into Go value of type map[string]interface {{}}", value.json_kind())
}

/// What there is to say of the operations of a JSON patch besides what was said when it was read.
fn check_operations(patch: &Value, read: Vec<String>) -> Result<Vec<String>, String> {
    let mistyped = |value: &Value, place: &str| {
        let got = value.json_kind();
        Err(format!("json: cannot unmarshal {got} into Go {place}"))
    };
    let Value::List(operations) = patch else {
        return mistyped(patch, "value of type []handlers.jsonPatchOp");
    };
    let mut told: Vec<_> = read.into_iter().map(|text| format!("json patch {text}")).collect();
    for (at, operation) in operations.iter().enumerate() {
        let Value::Map(members) = operation else {
            return mistyped(operation, "value of type handlers.jsonPatchOp");
        };
        for (name, value) in members {
            match (name.as_str(), value) {
                ("value", _) | ("op" | "path" | "from", Value::Str(_) | Value::Null) => {}
                ("op" | "path" | "from", _) => {
                    return mistyped(value, &format!("struct field jsonPatchOp.{name} of type string"));
                }
                _ => told.push(format!("json patch unknown field \"[{at}].{name}\"")),
            }
        }
    }
    Ok(told)
}

/// A tree as Go prints maps: `map[a:1 b:[x y]]`, the keys in order.
fn go_text(value: &Value) -> String {
    match value {
        Value::Map(map) => {
            let mut members: Vec<_> = map.iter().map(|(key, value)| (key, go_text(value))).collect();
            members.sort_unstable();
            let members: Vec<_> = members.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
            format!("map[{}]", members.join(" "))
        }
        Value::List(items) => format!("[{}]", items.iter().map(go_text).collect::<Vec<_>>().join(" ")),
        Value::Str(text) => text.to_string(),
        Value::Null => "<nil>".to_owned(),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => json::to_string(value),
    }
}

pub(super) async fn object(call: &Call<'_>, target: Target<'_>, body: Body) -> Result<Response, Status> {
    let accepted = call.accept(Allow::OBJECTS)?;
    let patch_type = Patch::type_of(call)?;
    let options = WriteOptions::of_patch(call, patch_type)?;
    let body = call.body(body).await?;
    let patch = Patch::read(patch_type, &body, options.strictness)?;
    let mut request = options.request(call, &call.info().name);
    if patch_type == PatchType::Apply {
        request.owner = FieldOwner::Stated { creates: true };
    }
    let mut warnings = Vec::new();
    let may_create = if patch_type == PatchType::Apply { check_create(call).await } else { Ok(()) };
    let change = |old: &Value| {
        let (object, found) = if patch_type == PatchType::Apply {
            let object = applied(call, (target, &may_create), &patch, &options, old)?;
            let mut applied = DecodedObject { object, warnings: patch.warnings.clone() };
            prune_unknown(call.kind, &mut applied, options.strictness)
                .map_err(|error| Status::bad_request(format!("error strict decoding patch: {error}")))?;
            (applied.object, applied.warnings)
        } else if old.is_null() {
            return Err(call.not_found());
        } else {
            let schema = call.kind.schema();
            patch.conformed(&patch.apply(old, schema)?, (schema, Some(call.kind)), options.strictness)?
        };
        warnings = found;
        Ok(object)
    };
    let outcome = call.core.writer.update(&request, target, change).await?;
    update::respond(call, accepted, &outcome, &warnings)
}

/// Whether the caller may create what an apply names.
async fn check_create(call: &Call<'_>) -> Result<(), Status> {
    let mut attributes = call.info().attributes();
    attributes.verb = "create".into();
    let decision = call.core.authorizer.authorize(call.context.user(), &attributes).await;
    if decision.is_allowed() {
        return Ok(());
    }
    let why = forbidden::message(call.context.user(), &attributes, decision.reason());
    Err(Status::forbidden(call.kind.group, call.kind.plural, &call.info().name, why))
}

/// What an apply makes of the stored object, or of nothing; creating needs the right to create.
fn applied(
    call: &Call<'_>,
    (target, may_create): (Target<'_>, &Result<(), Status>),
    patch: &Patch,
    options: &WriteOptions,
    old: &Value,
) -> Result<Value, Status> {
    let author = Author { manager: &options.manager, now: call.core.clock.wall() };
    if !old.is_null() {
        return pipeline::apply(call.kind, target, old, &patch.value, author, options.force);
    }
    may_create.clone()?;
    let object = pipeline::apply(call.kind, target, &Value::map(), &patch.value, author, options.force)?;
    let uid = Meta(&object).uid();
    if !uid.is_empty() {
        let why = format!(
            "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        );
        return Err(Status::conflict(call.kind.group, call.kind.plural, &call.info().name, why));
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(patch_type: PatchType, body: &str) -> Result<Patch, String> {
        Patch::read(patch_type, body.as_bytes(), Strictness::Warn).map_err(|status| status.message)
    }

    #[test]
    fn patches_that_are_none_are_told_as_upstream_does() {
        let map = "json: cannot unmarshal array into Go value of type map[string]interface {}";
        for (patch_type, body, wanted) in [
            (PatchType::Merge, "[]", format!("error decoding patch: {map}")),
            (PatchType::StrategicMerge, "[]", map.to_owned()),
            (PatchType::Apply, "[]", format!("error decoding patch: {map}")),
            (
                PatchType::Json,
                "{}",
                "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
                    .to_owned(),
            ),
            (
                PatchType::Json,
                "[1]",
                "error decoding patch: json: cannot unmarshal number into Go value of type handlers.jsonPatchOp"
                    .to_owned(),
            ),
            (
                PatchType::Json,
                r#"[{"op": "add", "path": 1}]"#,
                "error decoding patch: json: cannot unmarshal number into Go struct field jsonPatchOp.path of type string"
                    .to_owned(),
            ),
        ] {
            assert_eq!(read(patch_type, body).err(), Some(wanted), "{body}");
        }
        for patch_type in [PatchType::Json, PatchType::Merge, PatchType::StrategicMerge] {
            assert!(read(patch_type, "{").err().is_some_and(|text| text.starts_with("invalid JSON patch: ")));
        }
        assert!(
            read(PatchType::Apply, "{").err().is_some_and(|text| text.starts_with("error encoding patch: "))
        );
    }

    #[test]
    fn fields_of_patches_that_are_unknown_or_there_twice_are_told() {
        for (patch_type, body, wanted) in [
            (PatchType::Merge, r#"{"spec": {"a": 1, "a": 2}}"#, r#"duplicate field "spec.a""#),
            (PatchType::StrategicMerge, r#"{"spec": 1, "spec": 2}"#, r#"duplicate field "spec""#),
            (
                PatchType::Json,
                r#"[{"op": "test", "path": "", "why": 1}]"#,
                r#"json patch unknown field "[0].why""#,
            ),
            (
                PatchType::Json,
                r#"[{"op": "test", "op": "add", "path": ""}]"#,
                r#"json patch duplicate field "[0].op""#,
            ),
        ] {
            assert_eq!(
                read(patch_type, body).map(|patch| patch.warnings),
                Ok(vec![wanted.to_owned()]),
                "{body}"
            );
        }
    }

    #[test]
    fn trees_are_shown_as_go_prints_them() {
        let tree = json::decode_free(br#"{"b": {"d": [1, "x", null]}, "a": true}"#).unwrap();
        assert_eq!(go_text(&tree), "map[a:true b:map[d:[1 x <nil>]]]");
    }
}
