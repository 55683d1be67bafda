//! The first step of a request's object: is it of this kind, in this namespace, of this name; then its defaults.

use crate::defaults;
use crate::kind::Kind;
use crate::object::{Meta, MetaMut};
use crate::ownership::ENTRIES_MAX;
use crate::schema;
use crate::validation::{ErrorList, Path, quote};
use crate::value::Value;
use mainstay_proto_api::Status;

/// Checks the type, fills in type and namespace, drops what only the server writes, and sets defaults.
/// `namespace` is that of the request, empty for cluster-scoped ones.
///
/// # Errors
/// A 400 when the object is of another version, kind or namespace than the request.
pub fn accept(kind: &Kind, object: &mut Value, namespace: &str) -> Result<(), Status> {
    check_type(kind, object)?;
    let expected = if kind.namespaced { namespace } else { "" };
    let stated = Meta(object).namespace();
    if !stated.is_empty() && !expected.is_empty() && stated != expected {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    check_owners(kind, object)?;
    let mut meta = MetaMut(object);
    meta.set_type(&kind.api_version(), kind.kind);
    meta.set_namespace(expected);
    meta.remove("selfLink");
    if !kind.is_stored() {
        meta.remove("managedFields");
    }
    defaults::apply(object, kind.schema());
    kind.rules.default(object);
    Ok(())
}

/// Bounds the field owners that a client sends.
fn check_owners(kind: &Kind, object: &Value) -> Result<(), Status> {
    let count = Meta(object).managed_fields().len();
    let mut errors = ErrorList::new();
    if count > ENTRIES_MAX {
        errors.too_many(&Path::new("metadata").child("managedFields"), count, ENTRIES_MAX);
    }
    errors.into_result(kind.group, kind.kind, Meta(object).name())
}

fn check_type(kind: &Kind, object: &Value) -> Result<(), Status> {
    let meta = Meta(object);
    if object.as_map().is_none() {
        return Err(Status::bad_request("the object provided is not a JSON object"));
    }
    let own_version = kind.api_version();
    let version = if meta.api_version().is_empty() { &own_version } else { meta.api_version() };
    let stated = if meta.kind().is_empty() { kind.kind } else { meta.kind() };
    if version == own_version && stated == kind.kind {
        return Ok(());
    }
    let (group, bare) = version.rsplit_once('/').unwrap_or(("", version));
    if stated == kind.kind && (kind.is_custom || group == kind.group) {
        return Err(Status::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({own_version})"
        )));
    }
    let why = if kind.is_custom {
        "the kind in the data does not match the requested kind".to_owned()
    } else if is_registered(version, stated) {
        // Upstream's names of the types in Go.
        let internal = kind.group.split('.').next().filter(|group| !group.is_empty()).unwrap_or("core");
        format!("converting ({bare}.{stated}) to ({internal}.{}): unknown conversion", kind.kind)
    } else {
        let (stated, version) = (quote(stated), quote(version));
        format!(
            "no kind {stated} is registered for version {version} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
        )
    };
    Err(Status::bad_request(format!(
        "{stated} in version {} cannot be handled as a {}: {why}",
        quote(bare),
        kind.kind
    )))
}

/// Whether there are objects of this type.
fn is_registered(api_version: &str, kind: &str) -> bool {
    let group = if api_version.contains('/') { "" } else { "core/" };
    let found = schema::lookup(&format!("{group}{api_version}.{kind}"));
    found.is_some_and(|found| found.field("metadata").is_some())
}

/// Checks that an object sent to a URL is the one that the URL names.
///
/// # Errors
/// A 400 that names both.
pub fn check_identity(object: &Value, name: &str, namespace: &str) -> Result<(), Status> {
    let meta = Meta(object);
    if meta.name().is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )));
    }
    if meta.name() != name {
        return Err(Status::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({name})",
            meta.name()
        )));
    }
    if !namespace.is_empty() && !meta.namespace().is_empty() && meta.namespace() != namespace {
        return Err(Status::bad_request(format!(
            "the namespace of the object ({}) does not match the namespace on the request ({namespace})",
            meta.namespace()
        )));
    }
    Ok(())
}
