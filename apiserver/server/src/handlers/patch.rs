//! PATCH: JSON patch, merge patch, strategic merge patch.

use http::header::CONTENT_TYPE;
use mainstay_apiserver_machinery::json::{self, Strictness};
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::patch;
use mainstay_apiserver_machinery::pipeline::Target;
use mainstay_apiserver_machinery::schema::Type;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::{PatchType, Status};

use super::options::WriteOptions;
use super::{Call, update};
use crate::encoding::Allow;
use crate::types::{Body, Response};

/// The patch types that are built.
const BUILT: [PatchType; 3] = [PatchType::Json, PatchType::Merge, PatchType::StrategicMerge];

/// A patch that is read, ready to be applied again and again.
pub(super) struct Patch {
    patch_type: PatchType,
    value: Value,
}

impl Patch {
    /// Reads a patch by the request's content type.
    pub(super) fn read(call: &Call<'_>, body: &[u8]) -> Result<Self, Status> {
        let header = call.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let utf8 = !header.to_ascii_lowercase().contains("charset=utf-16");
        let patch_type = PatchType::from_content_type(header).filter(|t| BUILT.contains(t) && utf8);
        let patch_type =
            patch_type.ok_or_else(|| Status::unsupported_media_type(&BUILT.map(PatchType::content_type)))?;
        let value = json::decode_free(body)
            .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
        if patch_type != PatchType::Json && value.as_map().is_none() {
            return Err(Status::bad_request(format!(
                "error decoding patch: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
                value.json_kind()
            )));
        }
        Ok(Self { patch_type, value })
    }

    /// The patched object, before its fields are checked.
    pub(super) fn apply(&self, old: &Value, schema: &'static Type) -> Result<Value, Status> {
        let patched = match self.patch_type {
            PatchType::Json => patch::json_patch(old, &self.value),
            PatchType::Merge => patch::merge_patch(old, &self.value),
            PatchType::StrategicMerge => patch::strategic_merge(old, &self.value, schema),
            PatchType::Apply => {
                return Err(Status::unsupported_media_type(&BUILT.map(PatchType::content_type)));
            }
        };
        patched.map_err(|error| error.to_status())
    }
}

pub(super) async fn object(call: &Call<'_>, target: Target<'_>, body: Body) -> Result<Response, Status> {
    let accepted = call.accept(Allow::OBJECTS)?;
    let options = WriteOptions::read(call, "PatchOptions")?;
    let body = call.body(body).await?;
    let patch = Patch::read(call, &body)?;
    let request = options.request(call, &call.info().name);
    let mut warnings = Vec::new();
    let change = |old: &Value| {
        if old.is_null() {
            return Err(call.not_found());
        }
        let patched = patch.apply(old, call.kind.schema())?;
        let (object, found) = check_fields(call.kind, &patched, options.strictness)?;
        warnings = found;
        Ok(object)
    };
    let outcome = call.core.writer.update(&request, target, change).await?;
    update::respond(call, accepted, &outcome, &warnings)
}

/// Reads a patched tree as if it had been sent: types are checked, unknown fields are found.
pub(super) fn check_fields(
    kind: &'static Kind,
    patched: &Value,
    strictness: Strictness,
) -> Result<(Value, Vec<String>), Status> {
    let decoded = json::conform(patched, kind.schema(), strictness).map_err(|error| {
        Status::failure(
            if strictness == Strictness::Strict { 400 } else { 422 },
            if strictness == Strictness::Strict { "BadRequest" } else { "Invalid" },
            format!(
                "{} in version {:?} cannot be handled as a {}: {error}",
                kind.kind, kind.version, kind.kind
            ),
        )
    })?;
    Ok((decoded.value, decoded.warnings))
}
