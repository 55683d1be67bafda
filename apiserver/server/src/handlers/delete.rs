//! DELETE of one object and of a collection.

use futures::StreamExt;
use http::StatusCode;
use mainstay_apiserver_machinery::pipeline::deletion::{DeleteOptions, UNREADABLE};
use mainstay_apiserver_machinery::validation::{ErrorList, Path};
use mainstay_apiserver_machinery::value::{self, Value};
use mainstay_proto_api::{Status, StatusDetails};

use super::get::namespace;
use super::list_options::ListOptions;
use super::options::{add_warnings, delete_options};
use super::{Call, Deletes, Deletion, FieldOwner, WriteRequest, list};
use crate::audit;
use crate::encoding::{
    Allow, ListMeta, ListSource, list_body, list_response, object_response, value_response,
};
use crate::types::{Attributes, Body, Decision, Response};

/// Deletes of one collection that run at once.
const CONCURRENT_MAX: usize = 8;

pub(super) async fn object(call: &Call<'_>, body: Body) -> Result<Response, Status> {
    let accepted = call.accept(Allow::OBJECTS)?;
    let body = call.body(body).await?;
    let (options, tree) = delete_options(call, &body)?;
    if options.unreadable {
        return unreadable(call, &options).await;
    }
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
    warn_of_dependents(call, &options, &mut response);
    Ok(response)
}

/// Says what becomes of dependents, where the request does not and the kind has something to say.
fn warn_of_dependents(call: &Call<'_>, options: &DeleteOptions, response: &mut Response) {
    if options.propagation_policy.is_none()
        && options.orphan_dependents.is_none()
        && let Some(text) = call.kind.rules.deletion_warning()
    {
        add_warnings(response, &[text.to_owned()]);
    }
}

fn success(call: &Call<'_>, deletion: &Deletion) -> Result<Response, Status> {
    let header = &deletion.object.cached.header;
    let status =
        Status::success_for(call.kind.group, call.kind.plural, &header.name, &header.uid.to_string());
    said(call, &status)
}

/// Removes an object that cannot be read, whatever holds it: no admission, no finalizer and no owner is asked, as upstream.
async fn unreadable(call: &Call<'_>, options: &DeleteOptions) -> Result<Response, Status> {
    audit::annotate("apiserver.k8s.io/unsafe-delete-ignore-read-error", String::new);
    let info = call.info();
    let right = Attributes { verb: "unsafe-delete-ignore-read-errors".into(), ..info.attributes() };
    let refused = |why: String| Err(Status::forbidden(call.kind.group, call.kind.plural, &info.name, why));
    match call.core.authorizer.authorize(call.context.user(), &right).await {
        Decision::Allow(_) => {}
        Decision::Failed { error, .. } => {
            return refused(format!(
                "error while checking permission for {:?}, {error}",
                right.verb.as_str()
            ));
        }
        Decision::Deny(reason) | Decision::NoOpinion(reason) => {
            return refused(format!("not permitted to do {:?}, reason: {reason}", right.verb.as_str()));
        }
    }
    let key = (namespace(call), info.name.as_str());
    call.core.registry.remove_unreadable(call.kind, key, options.dry_run).await?;
    let details =
        StatusDetails { name: info.name.clone(), kind: call.kind.kind.into(), ..StatusDetails::default() };
    let mut done = Status::success().with_details(details);
    done.code = 200;
    said(call, &done)
}

fn said(call: &Call<'_>, status: &Status) -> Result<Response, Status> {
    let tree = value::to_value(status).map_err(|error| Status::internal(&error))?;
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
        deletes: Deletes::default(),
    }
}

pub(super) async fn collection(call: &Call<'_>, body: Body) -> Result<Response, Status> {
    let accepted = call.accept(Allow::LIST)?;
    let list_options = ListOptions::for_list(&call.context.query)?;
    let body = call.body(body).await?;
    let (options, tree) = delete_options(call, &body)?;
    if options.unreadable {
        let why = "is not allowed with DELETECOLLECTION, try again after removing the option";
        let mut errors = ErrorList::new();
        errors.invalid(&Path::new(UNREADABLE), true, why);
        errors.into_result("meta.k8s.io", "DeleteOptions", "")?;
    }
    let page = list::page(call, &list_options).await?;
    let meta = ListMeta { revision: page.meta.revision, ..ListMeta::default() };
    let objects = page.into_objects();
    let under_way = objects.into_iter().map(|object| {
        let mut request = request(call, &object.header.name, &options, tree.clone());
        request.namespace = object.header.namespace.clone();
        request.deletes = Deletes::OfCollection;
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
    let mut response =
        list_response(call.headers(), accepted, chunks).map_err(|failure| call.failed(&failure))?;
    warn_of_dependents(call, &options, &mut response);
    Ok(response)
}
