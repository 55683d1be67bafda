//! RangeStream: a range of any size in constant memory.
use std::sync::Arc;

use futures::{Stream, stream};
use mainstay_proto_wire::etcd::etcdserverpb as pb;
use tonic::Status;

use super::face::Face;
use super::{convert, refusal};
use crate::Store;
use crate::api::{RangeRequest, RangeResponse};

/// What can be streamed.
///
/// # Errors
/// Orders and filters, which etcd does not stream either.
pub(super) fn request(request: &pb::RangeRequest) -> Result<RangeRequest, Status> {
    let wanted = convert::range(request)?;
    if wanted.order.is_some() {
        return Err(Status::unimplemented("RangeStream does not support custom sort orders"));
    }
    if !wanted.bounds.is_none() {
        return Err(Status::unimplemented("RangeStream does not support revision filters"));
    }
    Ok(wanted)
}

/// The pages. The last brings header, `more` and `count`, so that all of them, merged, are the answer to a Range.
pub(super) fn stream(
    face: Arc<Face>,
    store: Store,
    wanted: RangeRequest,
) -> impl Stream<Item = Result<pb::RangeStreamResponse, Status>> + Send + 'static {
    let whole = Arc::new(wanted.clone());
    stream::try_unfold((Some(wanted), 0_u64), move |(rest, sent)| {
        let (face, store, whole) = (Arc::clone(&face), store.clone(), Arc::clone(&whole));
        async move {
            let Some(request) = rest else { return Ok(None) };
            let read = store.range_page(request).await;
            let (page, rest) = read.map_err(|error| refusal::of_range(&error))?;
            let sent = sent + page.kvs.len() as u64;
            let part = if rest.is_none() {
                last_part(&face, &store, &whole, sent, page).await?
            } else {
                pb::RangeResponse { more: false, count: 0, ..convert::range_response(None, page) }
            };
            Ok(Some((pb::RangeStreamResponse { range_response: Some(part) }, (rest, sent))))
        }
    })
}

async fn last_part(
    face: &Face,
    store: &Store,
    whole: &RangeRequest,
    sent: u64,
    page: RangeResponse,
) -> Result<pb::RangeResponse, Status> {
    let mut count = if whole.count_only { page.count } else { sent };
    if page.more {
        // The limit ended the answer: what lies beyond it counts too.
        let request = RangeRequest { count_only: true, revision: Some(page.revision), ..whole.clone() };
        count = store.range(request).await.map_err(|error| refusal::of_range(&error))?.count;
    }
    let header = face.header(page.revision);
    Ok(pb::RangeResponse { count: count as i64, ..convert::range_response(header, page) })
}
