//! The `scale` subresource: an autoscaling/v1 Scale as a view of the object.

use http::StatusCode;
use mainstay_apiserver_machinery::json::{self, Strictness};
use mainstay_apiserver_machinery::kind::ScalePaths;
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::ownership;
use mainstay_apiserver_machinery::pipeline;
use mainstay_apiserver_machinery::schema::{self, Type};
use mainstay_apiserver_machinery::validation::{ErrorList, Path};
use mainstay_apiserver_machinery::value::{self, Value};
use mainstay_proto_api::{PatchType, Status, label};

use super::get::namespace;
use super::options::{WriteOptions, add_warnings};
use super::patch::Patch;
use super::subresource_view::SubresourceView;
use super::{Call, FieldOwner};
use crate::encoding::{Allow, value_response};
use crate::request::decode_object;
use crate::types::{Body, Response};

const SCALE: (&str, &str) = ("v1", "Scale");

pub(super) async fn handle(call: &Call<'_>, paths: ScalePaths, body: Body) -> Result<Response, Status> {
    match call.info().verb.as_str() {
        "get" => {
            let registry = &call.core.registry;
            call.fresh().await?;
            let found = registry.get_readable(call.kind, namespace(call), &call.info().name)?;
            let object = registry.decode_in_form(call.kind, &found.ok_or_else(|| call.not_found())?).await?;
            respond(call, &view(&object, paths)?, &[])
        }
        "update" => update(call, paths, body).await,
        "patch" => patch(call, paths, body).await,
        _ => Err(super::verbs::method_not_allowed()),
    }
}

fn scale_schema() -> Result<&'static Type, Status> {
    schema::lookup("autoscaling/v1.Scale").ok_or_else(|| Status::internal("the schema tables lack Scale"))
}

async fn update(call: &Call<'_>, paths: ScalePaths, body: Body) -> Result<Response, Status> {
    let options = WriteOptions::read(call, "UpdateOptions")?;
    let body = call.body(body).await?;
    let decoded = decode_object(call.headers(), &body, scale_schema()?, SCALE, options.strictness)?;
    let wanted = decoded.object;
    write(call, paths, &options, |current| {
        Ok((owned(call, &options, current, wanted.clone()), decoded.warnings.clone()))
    })
    .await
}

async fn patch(call: &Call<'_>, paths: ScalePaths, body: Body) -> Result<Response, Status> {
    let patch_type = Patch::type_of(call)?;
    let options = WriteOptions::of_patch(call, patch_type)?;
    let body = call.body(body).await?;
    let patch = Patch::read(patch_type, &body, options.strictness)?;
    let schema = scale_schema()?;
    let strictness = options.strictness;
    write(call, paths, &options, |current| {
        if patch_type == PatchType::Apply {
            return Ok((applied(call, &options, current, &patch.value)?, patch.warnings.clone()));
        }
        let patched = patch.apply(current, schema)?;
        let (wanted, warnings) = patch.conformed(&patched, (schema, None), strictness)?;
        Ok((owned(call, &options, current, wanted), warnings))
    })
    .await
}

/// The wanted Scale with its owners, after an update or patch.
fn owned(call: &Call<'_>, options: &WriteOptions, current: &Value, mut wanted: Value) -> Value {
    let now = pipeline::timestamp(call.core.clock.wall());
    let reset = ownership::FieldSet::of_names(&[&["status"]]);
    if let Ok(schema) = scale_schema() {
        let writing = writing(options, &now, &reset);
        ownership::track_update(ownership::Shape::of(schema), current, &mut wanted, &writing);
    }
    wanted
}

/// The Scale that an apply makes of the current one.
fn applied(
    call: &Call<'_>,
    options: &WriteOptions,
    current: &Value,
    config: &Value,
) -> Result<Value, Status> {
    let stated = Meta(config);
    if (stated.api_version(), stated.kind()) != ("autoscaling/v1", "Scale") {
        let text = format!("invalid object type: {}, Kind={}", stated.api_version(), stated.kind());
        return Err(Status::bad_request(text));
    }
    let now = pipeline::timestamp(call.core.clock.wall());
    let reset = ownership::FieldSet::of_names(&[&["status"]]);
    let schema = scale_schema()?;
    let application = ownership::Application {
        shape: ownership::Shape::of(schema),
        live: current,
        config,
        writing: writing(options, &now, &reset),
        force: options.force,
    };
    let merged = ownership::apply(application).map_err(|error| error.to_status())?;
    json::conform(&merged, schema, Strictness::Ignore)
        .map(|decoded| decoded.value)
        .map_err(|error| Status::bad_request(format!("the applied Scale cannot be read: {error}")))
}

fn writing<'a>(
    options: &'a WriteOptions,
    now: &'a str,
    reset: &'a ownership::FieldSet,
) -> ownership::Writing<'a> {
    let manager = options.manager.as_str();
    ownership::Writing { manager, api_version: "autoscaling/v1", subresource: "scale", now, reset }
}

async fn write(
    call: &Call<'_>,
    paths: ScalePaths,
    options: &WriteOptions,
    mut wanted: impl FnMut(&Value) -> Result<(Value, Vec<String>), Status> + Send,
) -> Result<Response, Status> {
    let mut request = options.request(call, &call.info().name);
    request.owner = FieldOwner::Stated { creates: false };
    let mut warnings = Vec::new();
    let change = |old: &Value| {
        let (scale, told) = wanted(&owned_view(call, old, paths)?)?;
        warnings = told;
        Ok(scale)
    };
    let scales = Scales { name: call.info().name.as_str(), version: &call.kind.api_version(), paths };
    let outcome = call.core.writer.update_view(&request, &scales, change).await?;
    let mut response = respond(call, &view(&outcome.stored.object, paths)?, &outcome.warnings)?;
    add_warnings(&mut response, &warnings);
    Ok(response)
}

/// The Scales of the objects of a kind, as one request sees them.
struct Scales<'a> {
    name: &'a str,
    /// The kind's `apiVersion`.
    version: &'a str,
    paths: ScalePaths,
}

impl SubresourceView for Scales<'_> {
    fn subresource(&self) -> &'static str {
        "scale"
    }

    fn of(&self, object: &Value) -> Result<Value, Status> {
        view(object, self.paths)
    }

    fn put(&self, object: &Value, scale: &Value) -> Result<Value, Status> {
        check(self.name, scale)?;
        let mut new = object.clone();
        let owners = ownership::from_scale(
            Meta(object).managed_fields(),
            Meta(scale).managed_fields(),
            self.version,
            self.paths.replicas,
        );
        new.set_path(&["metadata", "managedFields"], owners);
        new.set_path(self.paths.replicas, scale.path_i64(&["spec", "replicas"]).unwrap_or(0));
        // A Scale's resource version and uid are preconditions on the object.
        for field in ["resourceVersion", "uid"] {
            if let Some(text) = scale.path_str(&["metadata", field]).filter(|text| !text.is_empty()) {
                new.set_path(&["metadata", field], text);
            }
        }
        Ok(new)
    }
}

fn check(wanted: &str, scale: &Value) -> Result<(), Status> {
    let name = Meta(scale).name();
    if name != wanted {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({wanted})"
        )));
    }
    let replicas = scale.path_i64(&["spec", "replicas"]).unwrap_or(0);
    let mut errors = ErrorList::new();
    if replicas < 0 {
        errors.invalid(&Path::new("spec").child("replicas"), replicas, "must be greater than or equal to 0");
    }
    errors.into_result("autoscaling", "Scale", name)
}

/// The Scale of an object with the owners of its count, which answers do not show.
fn owned_view(call: &Call<'_>, object: &Value, paths: ScalePaths) -> Result<Value, Status> {
    let mut scale = view(object, paths)?;
    let owners = Meta(object).managed_fields();
    let owners = ownership::to_scale(owners, &call.kind.api_version(), paths.replicas);
    if !owners.is_empty() {
        scale.set_path(&["metadata", "managedFields"], owners);
    }
    Ok(scale)
}

/// The Scale of an object.
fn view(object: &Value, paths: ScalePaths) -> Result<Value, Status> {
    let mut scale = Value::map();
    scale.set_path(&["kind"], "Scale");
    scale.set_path(&["apiVersion"], "autoscaling/v1");
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object.path(&["metadata", field]) {
            scale.set_path(&["metadata", field], value);
        }
    }
    scale.set_path(&["spec"], Value::map());
    if let Some(replicas) = object.path_i64(paths.replicas).filter(|replicas| *replicas != 0) {
        scale.set_path(&["spec", "replicas"], replicas);
    }
    scale.set_path(&["status", "replicas"], object.path_i64(paths.status_replicas).unwrap_or(0));
    if let Some(selector) = object.path(paths.selector).filter(|_| !paths.selector.is_empty()) {
        let text = selector_text(selector)?;
        if !text.is_empty() {
            scale.set_path(&["status", "selector"], text);
        }
    }
    Ok(scale)
}

/// A LabelSelector, or a plain map of labels, as query text.
fn selector_text(selector: &Value) -> Result<String, Status> {
    // Custom resources keep the selector as text.
    if let Some(text) = selector.as_str() {
        return Ok(text.to_owned());
    }
    let structured = selector.get("matchLabels").is_some() || selector.get("matchExpressions").is_some();
    if !structured {
        let labels = selector.as_map().into_iter().flatten();
        return Ok(label::Selector::from_map(labels.filter_map(|(k, v)| Some((k.as_str(), v.as_str()?))))
            .to_string());
    }
    let spec: label::LabelSelector = value::from_value(selector).map_err(Status::internal)?;
    label::Selector::from_spec(Some(&spec)).map(|selector| selector.to_string()).map_err(Status::internal)
}

fn respond(call: &Call<'_>, scale: &Value, warnings: &[String]) -> Result<Response, Status> {
    let accepted = call.accept(Allow::PLAIN)?;
    let mut response = value_response(call.headers(), accepted, scale, Some(scale_schema()?), StatusCode::OK)
        .map_err(|failure| call.failed(&failure))?;
    add_warnings(&mut response, warnings);
    Ok(response)
}
