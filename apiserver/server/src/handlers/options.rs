//! Options of writes: dry run, field validation, delete options; and the answers' `Warning` headers.

use http::header::{HeaderValue, WARNING};
use mainstay_apiserver_machinery::json::Strictness;
use mainstay_apiserver_machinery::pipeline::deletion::DeleteOptions;
use mainstay_apiserver_machinery::validation::{ErrorList, Path};
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;

use super::get::namespace;
use super::{Call, WriteRequest};
use crate::request::{decode_object, strictness};
use crate::types::Response;

/// Warnings sent with one answer, and their bytes together, as upstream bounds them.
const WARNINGS_BYTES_MAX: usize = 4096;

/// Options of a create, update or patch.
pub(super) struct WriteOptions {
    pub(super) dry_run: bool,
    pub(super) strictness: Strictness,
    tree: Value,
}

impl WriteOptions {
    pub(super) fn read(call: &Call<'_>, options_kind: &'static str) -> Result<Self, Status> {
        let query = &call.context.query;
        let dry_run = dry_run(call, options_kind)?;
        let strictness = strictness(query, options_kind)?;
        let mut tree = Value::map();
        tree.set_path(&["kind"], options_kind);
        tree.set_path(&["apiVersion"], "meta.k8s.io/v1");
        if dry_run {
            tree.set_path(&["dryRun"], Value::from(["All"]));
        }
        for name in ["fieldManager", "fieldValidation"] {
            if let Some(text) = query.non_empty(name) {
                tree.set_path(&[name], text);
            }
        }
        Ok(Self { dry_run, strictness, tree })
    }

    /// The write of this call; `name` is empty for creates.
    pub(super) fn request(&self, call: &Call<'_>, name: &str) -> WriteRequest {
        WriteRequest {
            kind: call.kind,
            namespace: namespace(call).into(),
            name: name.into(),
            user: call.context.user().clone(),
            dry_run: self.dry_run,
            options: self.tree.clone(),
        }
    }
}

fn dry_run(call: &Call<'_>, options_kind: &str) -> Result<bool, Status> {
    let values: Vec<&str> = call.context.query.all("dryRun").filter(|v| !v.is_empty()).collect();
    if values.iter().any(|v| *v != "All") {
        let mut errors = ErrorList::new();
        errors.not_supported(&Path::new("dryRun"), Value::from(values), &["All"]);
        errors.into_result("meta.k8s.io", options_kind, "")?;
        return Ok(true);
    }
    Ok(!values.is_empty())
}

/// Delete options out of the body, or out of the query where there is no body.
pub(super) fn delete_options(call: &Call<'_>, body: &[u8]) -> Result<(DeleteOptions, Value), Status> {
    let mut tree = if body.is_empty() {
        from_query(call)?
    } else {
        let schema = mainstay_apiserver_machinery::schema::lookup("meta/v1.DeleteOptions")
            .ok_or_else(|| Status::internal("the schema tables lack DeleteOptions"))?;
        decode_object(call.headers(), body, schema, ("v1", "DeleteOptions"), Strictness::Ignore)?.object
    };
    let options = DeleteOptions::from_value(&tree)?;
    tree.set_path(&["kind"], "DeleteOptions");
    tree.set_path(&["apiVersion"], "meta.k8s.io/v1");
    Ok((options, tree))
}

fn from_query(call: &Call<'_>) -> Result<Value, Status> {
    let query = &call.context.query;
    let mut tree = Value::map();
    if let Some(text) = query.non_empty("gracePeriodSeconds") {
        let seconds: i64 = text.parse().map_err(|error| {
            Status::bad_request(format!("invalid value {text:?} for gracePeriodSeconds: {error}"))
        })?;
        tree.set_path(&["gracePeriodSeconds"], seconds);
    }
    if let Some(policy) = query.non_empty("propagationPolicy") {
        tree.set_path(&["propagationPolicy"], policy);
    }
    if query.non_empty("orphanDependents").is_some() {
        tree.set_path(&["orphanDependents"], query.is_true("orphanDependents"));
    }
    let dry_run: Vec<&str> = query.all("dryRun").filter(|v| !v.is_empty()).collect();
    if !dry_run.is_empty() {
        tree.set_path(&["dryRun"], Value::from(dry_run));
    }
    Ok(tree)
}

/// Adds `Warning: 299` headers, without control characters and bounded in length.
pub(super) fn add_warnings(response: &mut Response, warnings: &[String]) {
    let mut bytes = 0;
    for warning in warnings {
        let mut text = String::with_capacity(warning.len() + 12);
        text.push_str("299 - \"");
        for c in warning.chars().take(1024) {
            match c {
                '"' | '\\' => text.extend(['\\', c]),
                c if c.is_control() => text.push(' '),
                c => text.push(c),
            }
        }
        text.push('"');
        bytes += text.len();
        if bytes > WARNINGS_BYTES_MAX {
            break;
        }
        if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
            response.headers_mut().append(WARNING, value);
        }
    }
}
