//! POST of a new object.

use http::StatusCode;
use mainstay_proto_api::Status;

use super::Call;
use super::options::{WriteOptions, add_warnings};
use crate::encoding::{Allow, object_response};
use crate::request::decode_kind;
use crate::types::{Body, Response};

pub(super) async fn object(call: &Call<'_>, body: Body) -> Result<Response, Status> {
    if !call.info().name.is_empty() {
        return Err(super::verbs::method_not_allowed());
    }
    let accepted = call.accept(Allow::OBJECTS)?;
    let options = WriteOptions::read(call, "CreateOptions")?;
    let body = call.body(body).await?;
    let decoded = decode_kind(call.headers(), &body, call.kind, options.strictness)?;
    let outcome = call.core.writer.create(&options.request(call, ""), decoded.object).await?;
    let mut response = object_response(
        call.headers(),
        accepted,
        &call.encoder(accepted),
        &outcome.stored.cached,
        StatusCode::CREATED,
    )
    .map_err(|failure| call.failed(&failure))?;
    add_warnings(&mut response, &decoded.warnings);
    add_warnings(&mut response, &outcome.warnings);
    Ok(response)
}
