//! Maintenance.Snapshot: etcd's format, or this store's own for those who ask for it in the request's metadata.
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use mainstay_proto_wire::etcd::etcdserverpb as pb;
use tonic::Status;
use tonic::metadata::MetadataMap;

use super::face::Face;
use super::{ETCD_CLUSTER_VERSION, refusal};
use crate::Store;
use crate::snapshot::{SnapshotError, SnapshotRequest};

/// Metadata: `rows` asks for the format of this store.
const FORMAT: &str = "mainstay-snapshot";
/// Metadata: only keys that start with this, in the format of this store.
const PREFIX: &str = "mainstay-prefix-bin";
/// etcd counts what remains without the checksum that follows.
const SUM_BYTES: u64 = 32;

pub(super) type Answers = Pin<Box<dyn Stream<Item = Result<pb::SnapshotResponse, Status>> + Send>>;

/// The snapshot that a request asks for. Making etcd's takes a while: the answers begin at once, their first message then.
pub(super) fn answers(face: &Arc<Face>, store: Store, metadata: &MetadataMap) -> Result<Answers, Status> {
    let answer = {
        let face = Arc::clone(face);
        move |remaining_bytes, blob| pb::SnapshotResponse {
            header: face.current_header(),
            remaining_bytes,
            blob,
            version: ETCD_CLUSTER_VERSION.into(),
        }
    };
    let refuse = |error: SnapshotError| refusal::of_snapshot(&error);
    match metadata.get(FORMAT).map(tonic::metadata::MetadataValue::as_bytes) {
        Some(b"rows") => {
            let prefix = match metadata.get_bin(PREFIX) {
                None => None,
                Some(prefix) => {
                    let invalid = |_not_base64| Status::invalid_argument("the prefix is not valid");
                    Some(prefix.to_bytes().map_err(invalid)?)
                }
            };
            let pieces = store.snapshot(SnapshotRequest { prefix }).map_err(refuse);
            Ok(Box::pin(pieces.map_ok(move |piece| answer(0, piece))))
        }
        Some(_) => {
            Err(Status::invalid_argument("the format of a snapshot is rows, or etcd's without this metadata"))
        }
        None => {
            let taken = async move { store.etcd_snapshot().await.map_err(refuse) };
            let pieces = stream::once(taken).map_ok(move |taken| {
                let mut left = taken.bytes;
                let answer = answer.clone();
                taken.pieces.map_err(refuse).map_ok(move |piece: Bytes| {
                    left = left.saturating_sub(piece.len() as u64);
                    answer(left.saturating_sub(SUM_BYTES), piece)
                })
            });
            Ok(pieces.try_flatten().boxed())
        }
    }
}
