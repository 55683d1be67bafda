//! Reading the body of a review or of a creating subresource, and answering it.

use http::{Method, StatusCode};
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::pipeline;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;

use crate::handlers::method_not_allowed;
use crate::request::{
    RequestContext, decode_object, options_tree, read_body, respond_object, shown_type, strictness,
};
use crate::types::{Request, Response};

/// Reads the object of a POST: decoded, of the right kind, with defaults, and valid.
///
/// # Errors
/// 405 for other methods, and what decoding and validation say.
pub async fn read(
    context: &RequestContext,
    request: Request,
    kind: &'static Kind,
    body_bytes_max: usize,
) -> Result<Value, Status> {
    read_also(context, request, (kind, &[]), body_bytes_max).await
}

/// As [`read`], of an object that may also name one of these older API versions.
///
/// # Errors
/// As [`read`].
pub async fn read_also(
    context: &RequestContext,
    request: Request,
    (kind, older): (&'static Kind, &[&str]),
    body_bytes_max: usize,
) -> Result<Value, Status> {
    if request.method() != Method::POST {
        return Err(method_not_allowed());
    }
    let body = read_body(&context.headers, request.into_body(), body_bytes_max).await?;
    let strictness = strictness(&context.query, "CreateOptions")?;
    let decoded = decode_object(&context.headers, &body, kind.schema(), shown_type(kind), strictness)?;
    let mut object = decoded.object;
    if object.path_str(&["apiVersion"]).is_some_and(|version| older.contains(&version)) {
        object.set_path(&["apiVersion"], kind.api_version().into_owned());
    }
    pipeline::accept(kind, &mut object, &context.info.namespace)?;
    pipeline::validate_create(kind, &object)?;
    Ok(object)
}

/// Whether the request asks for a dry run.
///
/// # Errors
/// 400 for a value other than `All`.
pub fn dry_run(context: &RequestContext) -> Result<bool, Status> {
    match context.query.get("dryRun") {
        None | Some("") => Ok(false),
        Some("All") => Ok(true),
        Some(other) => {
            Err(Status::bad_request(format!("invalid dryRun value {other:?}: only All is supported")))
        }
    }
}

/// Whether the request asks for a dry run, and the options of its POST as admission sees them.
///
/// # Errors
/// As [`dry_run`].
pub fn create_options(context: &RequestContext) -> Result<(bool, Value), Status> {
    let dry_run = dry_run(context)?;
    Ok((dry_run, options_tree(&context.query, "CreateOptions", dry_run)))
}

/// Answers 201 with the object.
///
/// # Errors
/// 406 when the client reads no format of ours.
pub fn created(context: &RequestContext, kind: &'static Kind, object: &Value) -> Result<Response, Status> {
    respond_object(context, object, Some(kind.schema()), StatusCode::CREATED)
}
