//! DELETE of one object and of a collection.

use futures::StreamExt;
use http::StatusCode;
use mainstay_apiserver_machinery::pipeline::deletion::DeleteOptions;
use mainstay_apiserver_machinery::value::{self, Value};
use mainstay_proto_api::Status;

use super::get::namespace;
use super::list_options::ListOptions;
use super::options::{add_warnings, delete_options};
use super::{Call, Deletion, FieldOwner, WriteRequest, list};
use crate::encoding::{
    Allow, ListMeta, ListSource, list_body, list_response, object_response, value_response,
};
use crate::types::{Body, Response};

/// Deletes of one collection that run at once.
const CONCURRENT_MAX: usize = 8;

pub(super) async fn object(call: &Call<'_>, body: Body) -> Result<Response, Status> {
    let accepted = call.accept(Allow::OBJECTS)?;
    let body = call.body(body).await?;
    let (options, tree) = delete_options(call, &body)?;
    let request = request(call, &call.info().name, &options, tree);
    let deletion = call.core.writer.delete(&request, &options).await?;
    let mut response = if deletion.gone && !call.kind.rules.returns_deleted_object() {
        success(call, &deletion)?
    } else {
        let waits = !deletion.gone && options.orphan_dependents == Some(false);
        let code = if waits { StatusCode::ACCEPTED } else { StatusCode::OK };
        object_response(call.headers(), accepted, &call.encoder(accepted), &deletion.object.cached, code)
            .map_err(|failure| call.failed(&failure))?
    };
    add_warnings(&mut response, &deletion.warnings);
    Ok(response)
}

fn success(call: &Call<'_>, deletion: &Deletion) -> Result<Response, Status> {
    let header = &deletion.object.cached.header;
    let status =
        Status::success_for(call.kind.group, call.kind.plural, &header.name, &header.uid.to_string());
    let tree = value::to_value(&status).map_err(|error| Status::internal(&error))?;
    let schema = mainstay_apiserver_machinery::schema::lookup("meta/v1.Status");
    value_response(call.headers(), call.accept(Allow::PLAIN)?, &tree, schema, StatusCode::OK)
        .map_err(|failure| call.failed(&failure))
}

fn request(call: &Call<'_>, name: &str, options: &DeleteOptions, tree: Value) -> WriteRequest {
    WriteRequest {
        kind: call.kind,
        namespace: namespace(call).into(),
        name: name.into(),
        user: call.context.user().clone(),
        dry_run: options.dry_run,
        options: tree,
        owner: FieldOwner::Nobody,
    }
}

pub(super) async fn collection(call: &Call<'_>, body: Body) -> Result<Response, Status> {
    let accepted = call.accept(Allow::OBJECTS)?;
    let list_options = ListOptions::for_list(&call.context.query)?;
    let body = call.body(body).await?;
    let (options, tree) = delete_options(call, &body)?;
    let page = list::page(call, &list_options).await?;
    let meta = ListMeta { revision: page.meta.revision, ..ListMeta::default() };
    let objects = page.into_objects();
    let under_way = objects.into_iter().map(|object| {
        let mut request = request(call, &object.header.name, &options, tree.clone());
        request.namespace = object.header.namespace.clone();
        let options = &options;
        async move {
            match call.core.writer.delete(&request, options).await {
                Ok(deletion) => Ok(Some(deletion.object.cached)),
                // Somebody else deleted it meanwhile: that is what was asked for.
                Err(status) if status.reason == "NotFound" => Ok(None),
                Err(status) => Err(status),
            }
        }
    });
    let results: Vec<_> = futures::stream::iter(under_way).buffered(CONCURRENT_MAX).collect().await;
    let deleted: Result<Vec<_>, Status> = results.into_iter().filter_map(Result::transpose).collect();
    let source = ListSource::objects(deleted?);
    let chunks =
        list_body(call.encoder(accepted), accepted.media, &meta, source).map_err(|f| call.failed(&f))?;
    list_response(call.headers(), accepted, chunks).map_err(|failure| call.failed(&failure))
}
