//! GET of one object, and of its status.

use http::StatusCode;
use mainstay_proto_api::Status;

use super::Call;
use super::list_options::resource_version;
use crate::encoding::{Allow, object_response};
use crate::types::Response;

pub(super) async fn object(call: &Call<'_>) -> Result<Response, Status> {
    let accepted = call.accept(Allow::OBJECTS)?;
    if call.context.query.is_true("export") {
        let gone = "the export parameter, deprecated since v1.14, is no longer supported";
        return Err(Status::bad_request(gone));
    }
    let info = call.info();
    let registry = &call.core.registry;
    let found = match call.context.query.non_empty("resourceVersion") {
        Some("0") => registry.get(call.kind, namespace(call), &info.name),
        Some(version) => {
            registry.fresh_to(resource_version(version)?).await?;
            registry.get(call.kind, namespace(call), &info.name)
        }
        None => {
            call.fresh().await?;
            registry.get_readable(call.kind, namespace(call), &info.name)?
        }
    };
    if found.is_none() {
        registry.check_readable(call.kind, namespace(call), &info.name)?;
    }
    let object = registry.in_form(call.kind, found.ok_or_else(|| call.not_found())?).await?;
    object_response(call.headers(), accepted, &call.encoder(accepted), &object, StatusCode::OK)
        .map_err(|failure| call.failed(&failure))
}

/// The namespace objects of the kind are keyed by; cluster-scoped ones have none.
pub(super) fn namespace<'a>(call: &Call<'a>) -> &'a str {
    if call.kind.namespaced { &call.info().namespace } else { "" }
}
