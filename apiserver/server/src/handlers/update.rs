//! PUT of an object, its status or another part of it.

use http::StatusCode;
use mainstay_apiserver_machinery::pipeline::Target;
use mainstay_proto_api::Status;

use super::options::{WriteOptions, add_warnings};
use super::{Call, Outcome};
use crate::encoding::{Accepted, Allow, object_response};
use crate::request::decode_kind;
use crate::types::{Body, Response};

pub(super) async fn object(call: &Call<'_>, target: Target<'_>, body: Body) -> Result<Response, Status> {
    let accepted = call.accept(Allow::OBJECTS)?;
    let options = WriteOptions::read(call, "UpdateOptions")?;
    let body = call.body(body).await?;
    let decoded = decode_kind(call.headers(), &body, call.kind, options.strictness)?;
    let request = options.request(call, &call.info().name);
    let wanted = decoded.object;
    let outcome = call.core.writer.update(&request, target, |_old| Ok(wanted.clone())).await?;
    respond(call, accepted, &outcome, &decoded.warnings)
}

/// The answer to an update or patch.
pub(super) fn respond(
    call: &Call<'_>,
    accepted: Accepted,
    outcome: &Outcome,
    decode_warnings: &[String],
) -> Result<Response, Status> {
    let code = if outcome.created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response =
        object_response(call.headers(), accepted, &call.encoder(accepted), &outcome.stored.cached, code)
            .map_err(|failure| call.failed(&failure))?;
    add_warnings(&mut response, decode_warnings);
    add_warnings(&mut response, &outcome.warnings);
    Ok(response)
}
