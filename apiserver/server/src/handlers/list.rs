//! GET of a collection: at the newest revision, at a given one, or page by page.

use std::sync::Arc;

use mainstay_apiserver_machinery::continue_token::Continue;
use mainstay_proto_api::Status;
use mainstay_store::Revision;

use super::Call;
use super::get::namespace;
use super::list_options::{ListOptions, VersionMatch};
use crate::cache::{Cached, Snapshot};
use crate::encoding::{Allow, ListMeta, ListSource, list_body, list_response, position_after};
use crate::registry::Registry;
use crate::selection::Selection;
use crate::types::Response;

/// What a list found.
pub(super) struct Page {
    pub(super) meta: ListMeta,
    pub(super) source: ListSource,
}

impl Page {
    /// All objects at once, for deletes.
    pub(super) fn into_objects(mut self) -> Vec<Arc<Cached>> {
        std::iter::from_fn(|| self.source.next_batch(1000)).flatten().collect()
    }
}

pub(super) async fn objects(call: &Call<'_>) -> Result<Response, Status> {
    let accepted = call.accept(Allow::LIST)?;
    let options = ListOptions::for_list(&call.context.query)?;
    let page = page(call, &options).await?;
    let chunks = list_body(call.encoder(accepted), accepted.media, &page.meta, page.source)
        .map_err(|failure| call.failed(&failure))?;
    list_response(call.headers(), accepted, chunks).map_err(|failure| call.failed(&failure))
}

/// Finds the objects of a list request.
pub(super) async fn page(call: &Call<'_>, options: &ListOptions) -> Result<Page, Status> {
    let selection = Selection::from_query(call.kind, namespace(call), &call.context.query)?;
    let place = place(call, options).await?;
    call.core.registry.check_readable(call.kind, namespace(call), "")?;
    if Registry::asks_to_convert(call.kind) {
        return converted(call, selection, options.limit, place).await;
    }
    match place.revision {
        At::Snapshot(snapshot) => Ok(from_snapshot(&snapshot, selection, options.limit, &place.position)),
        At::History(revision) => {
            from_history(call, &selection, options.limit, (revision, place.position)).await
        }
    }
}

struct Place {
    revision: At,
    position: Vec<u8>,
}

enum At {
    Snapshot(Snapshot),
    History(Revision),
}

/// Where and when the list starts, by upstream's table of resource version, match rule, limit and continue.
async fn place(call: &Call<'_>, options: &ListOptions) -> Result<Place, Status> {
    let registry = &call.core.registry;
    if let Some(token) = &options.token {
        let position = token.position.clone().into_bytes();
        let revision = match token.revision {
            Some(revision) => {
                exact(call, Revision(revision)).await.map_err(|status| expired_token(status, token))?
            }
            None => newest(call).await?,
        };
        return Ok(Place { revision, position });
    }
    let revision = match (options.version, options.version_match) {
        (None, _) => newest(call).await?,
        (Some(Revision(0)), _) => At::Snapshot(registry.cache(call.kind)?.snapshot()),
        (Some(wanted), Some(VersionMatch::Exact)) => exact(call, wanted).await?,
        (Some(wanted), None) if options.limit > 0 => exact(call, wanted).await?,
        (Some(wanted), _) => {
            registry.fresh_to(wanted).await?;
            At::Snapshot(registry.cache(call.kind)?.snapshot())
        }
    };
    Ok(Place { revision, position: Vec::new() })
}

/// The collection as it is now.
async fn newest(call: &Call<'_>) -> Result<At, Status> {
    call.fresh().await?;
    Ok(At::Snapshot(call.core.registry.cache(call.kind)?.snapshot()))
}

/// The collection at exactly one revision: out of the ring, or out of the store's history.
async fn exact(call: &Call<'_>, wanted: Revision) -> Result<At, Status> {
    let registry = &call.core.registry;
    registry.fresh_to(wanted).await?;
    if let Some(snapshot) = registry.cache(call.kind)?.snapshot_at(wanted) {
        return Ok(At::Snapshot(snapshot));
    }
    // Asks for one key, so that a compacted revision is found before anything is sent.
    registry.page_at(call.kind, "", b"", wanted, 1).await?;
    Ok(At::History(wanted))
}

/// Upstream's 410 for a token whose revision is gone: it carries one that goes on at the newest revision.
fn expired_token(status: Status, token: &Continue) -> Status {
    if status.code != 410 {
        return status;
    }
    let mut status = Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without \
         the continue parameter, or use the continue token in this response to retrieve the remainder of the results. \
         Continuing with the provided token results in an inconsistent list - objects that were created, modified, or \
         deleted between the time the first chunk was returned and now may show up in the list.",
    );
    status.metadata.continue_token =
        Some(Continue { revision: None, position: token.position.clone() }.encode());
    status
}

fn from_snapshot(snapshot: &Snapshot, selection: Selection, limit: usize, position: &[u8]) -> Page {
    let mut meta = ListMeta { revision: snapshot.revision, ..ListMeta::default() };
    let snapshot = snapshot.narrowed(&selection.interest());
    if limit == 0 && position.is_empty() {
        return Page { meta, source: ListSource::scan(snapshot, selection) };
    }
    let mut objects = Vec::new();
    let mut rest = snapshot.page(&selection.namespace, position);
    let limit = if limit == 0 { usize::MAX } else { limit };
    while objects.len() < limit {
        let Some(object) = rest.next() else { break };
        if selection.matches(object) {
            objects.push(Arc::clone(object));
        }
    }
    let remaining = rest.filter(|object| selection.matches(object)).count() as u64;
    if remaining > 0 {
        meta.continue_token = next_token(&selection, objects.last(), meta.revision);
        meta.remaining = selection.is_unfiltered().then_some(remaining);
    }
    Page { meta, source: ListSource::objects(objects) }
}

async fn from_history(
    call: &Call<'_>,
    selection: &Selection,
    limit: usize,
    (revision, mut position): (Revision, Vec<u8>),
) -> Result<Page, Status> {
    let mut meta = ListMeta { revision, ..ListMeta::default() };
    let mut objects: Vec<Arc<Cached>> = Vec::new();
    loop {
        let page =
            call.core.registry.page_at(call.kind, &selection.namespace, &position, revision, 0).await?;
        let last = page.objects.last().map(|object| position_after(&selection.namespace, object));
        for object in page.objects {
            if limit > 0 && objects.len() == limit {
                meta.continue_token = next_token(selection, objects.last(), revision);
                return Ok(Page { meta, source: ListSource::objects(objects) });
            }
            if selection.matches(&object) {
                objects.push(object);
            }
        }
        match last.filter(|_| page.more) {
            Some(next) => position = next,
            None => return Ok(Page { meta, source: ListSource::objects(objects) }),
        }
    }
}

/// A list of objects that a webhook may have to convert. It may change what selectors look at, so all are converted
/// before any is selected.
async fn converted(
    call: &Call<'_>,
    selection: Selection,
    limit: usize,
    place: Place,
) -> Result<Page, Status> {
    let everything = Selection::everything(call.kind, &selection.namespace);
    let all = match place.revision {
        At::Snapshot(snapshot) => from_snapshot(&snapshot, everything, 0, &place.position),
        At::History(revision) => from_history(call, &everything, 0, (revision, place.position)).await?,
    };
    let mut meta = all.meta.clone();
    let mut objects = call.core.registry.all_in_form(call.kind, all.into_objects()).await?;
    objects.retain(|object| selection.matches(object));
    if limit > 0 && objects.len() > limit {
        let remaining = (objects.len() - limit) as u64;
        objects.truncate(limit);
        meta.continue_token = next_token(&selection, objects.last(), meta.revision);
        meta.remaining = selection.is_unfiltered().then_some(remaining);
    }
    Ok(Page { meta, source: ListSource::objects(objects) })
}

fn next_token(selection: &Selection, last: Option<&Arc<Cached>>, revision: Revision) -> String {
    let Some(last) = last else { return String::new() };
    let position = String::from_utf8(position_after(&selection.namespace, last)).unwrap_or_default();
    Continue { revision: Some(revision.0), position }.encode()
}
