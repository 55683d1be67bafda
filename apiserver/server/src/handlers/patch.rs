//! PATCH: JSON patch, merge patch, strategic merge patch, server-side apply.

use http::header::CONTENT_TYPE;
use mainstay_apiserver_machinery::json::{self, Strictness};
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::pipeline::{self, Author, Target};
use mainstay_apiserver_machinery::schema::Type;
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
        let refused =
            |error: json::DecodeError| Status::bad_request(format!("error decoding patch: {error}"));
        let (value, warnings) = if patch_type == PatchType::Apply {
            let decoded = yaml::decode(body, None, Strictness::Warn).map_err(refused)?;
            match strictness {
                Strictness::Ignore => (decoded.value, Vec::new()),
                Strictness::Strict if !decoded.warnings.is_empty() => {
                    let text = decoded.warnings.join(", ");
                    return Err(Status::bad_request(format!("error strict decoding patch: {text}")));
                }
                Strictness::Warn | Strictness::Strict => (decoded.value, decoded.warnings),
            }
        } else {
            (json::decode_free(body).map_err(refused)?, Vec::new())
        };
        if patch_type != PatchType::Json && value.as_map().is_none() {
            return Err(Status::bad_request(format!(
                "error decoding patch: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
                value.json_kind()
            )));
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
            check_fields(call.kind, &patch.apply(old, call.kind.schema())?, options.strictness)?
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

/// Reads a patched tree as if it had been sent: types are checked, unknown fields are found.
pub(super) fn check_fields(
    kind: &'static Kind,
    patched: &Value,
    strictness: Strictness,
) -> Result<(Value, Vec<String>), Status> {
    let lenient =
        if kind.is_custom && strictness == Strictness::Strict { Strictness::Warn } else { strictness };
    let conformed = json::conform(patched, kind.schema(), lenient).and_then(|decoded| {
        let mut decoded = DecodedObject { object: decoded.value, warnings: decoded.warnings };
        prune_unknown(kind, &mut decoded, strictness).map(|()| decoded)
    });
    let decoded = conformed.map_err(|error| {
        Status::failure(
            if strictness == Strictness::Strict { 400 } else { 422 },
            if strictness == Strictness::Strict { "BadRequest" } else { "Invalid" },
            format!(
                "{} in version {:?} cannot be handled as a {}: {error}",
                kind.kind, kind.version, kind.kind
            ),
        )
    })?;
    Ok((decoded.object, decoded.warnings))
}
