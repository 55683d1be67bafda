//! etcd's messages to the library's types and back.
//!
//! Keys and values that come in are copied out of the message: a slice would keep the whole buffer of the connection in memory.
use bytes::Bytes;
use mainstay_proto_wire::etcd::{etcdserverpb as pb, mvccpb};
use pb::compare::{CompareResult, CompareTarget as PbTarget, TargetUnion};
use pb::request_op::Request as PbOp;
use pb::response_op::Response as PbOpResponse;
use tonic::Status;

use super::refusal;
use crate::api::{
    Compare, CompareOp, CompareTarget, DeleteRangeRequest, DeleteRangeResponse, KeyValue, LeaseId, Op,
    OpResponse, PutRequest, PutResponse, RangeOrder, RangeRequest, RangeResponse, Revision, RevisionBounds,
    SortTarget, Txn, TxnResponse,
};

/// An owned copy.
pub(super) fn owned(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

/// The end of a range: empty is "one key".
pub(super) fn range_end(end: &Bytes) -> Option<Bytes> {
    (!end.is_empty()).then(|| owned(end))
}

pub(super) fn range(request: &pb::RangeRequest) -> Result<RangeRequest, Status> {
    if request.key.is_empty() {
        return Err(refusal::EMPTY_KEY.into());
    }
    let bound = |revision: i64| Revision(revision.max(0));
    Ok(RangeRequest {
        key: owned(&request.key),
        range_end: range_end(&request.range_end),
        limit: usize::try_from(request.limit).unwrap_or(0),
        revision: (request.revision > 0).then_some(Revision(request.revision)),
        keys_only: request.keys_only,
        count_only: request.count_only,
        uncounted: false,
        serializable: request.serializable,
        order: order(request)?,
        bounds: RevisionBounds {
            mod_min: bound(request.min_mod_revision),
            mod_max: bound(request.max_mod_revision),
            create_min: bound(request.min_create_revision),
            create_max: bound(request.max_create_revision),
        },
    })
}

fn order(request: &pb::RangeRequest) -> Result<Option<RangeOrder>, Status> {
    use pb::range_request::{SortOrder, SortTarget as PbSortTarget};
    let invalid = |_unknown| Status::from(refusal::INVALID_SORT_OPTION);
    let order = SortOrder::try_from(request.sort_order).map_err(invalid)?;
    let target = match PbSortTarget::try_from(request.sort_target).map_err(invalid)? {
        PbSortTarget::Key => SortTarget::Key,
        PbSortTarget::Version => SortTarget::Version,
        PbSortTarget::Create => SortTarget::Create,
        PbSortTarget::Mod => SortTarget::Mod,
        PbSortTarget::Value => SortTarget::Value,
    };
    let order = RangeOrder { target, descending: order == SortOrder::Descend };
    Ok((order != RangeOrder::default()).then_some(order))
}

pub(super) fn put(request: &pb::PutRequest) -> PutRequest {
    PutRequest {
        key: owned(&request.key),
        value: owned(&request.value),
        lease: LeaseId(request.lease),
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    }
}

pub(super) fn delete(request: &pb::DeleteRangeRequest) -> Result<DeleteRangeRequest, Status> {
    if request.key.is_empty() {
        return Err(refusal::EMPTY_KEY.into());
    }
    Ok(DeleteRangeRequest {
        key: owned(&request.key),
        range_end: range_end(&request.range_end),
        prev_kv: request.prev_kv,
    })
}

/// `depth` is how many more levels may follow.
pub(super) fn txn(request: &pb::TxnRequest, depth: usize) -> Result<Txn, Status> {
    let Some(depth) = depth.checked_sub(1) else { return Err(refusal::TOO_MANY_OPS.into()) };
    let ops = |ops: &[pb::RequestOp]| ops.iter().map(|op| txn_op(op, depth)).collect::<Result<Vec<_>, _>>();
    Ok(Txn {
        compare: request.compare.iter().map(compare).collect::<Result<_, _>>()?,
        success: ops(&request.success)?,
        failure: ops(&request.failure)?,
    })
}

fn txn_op(op: &pb::RequestOp, depth: usize) -> Result<Op, Status> {
    Ok(match &op.request {
        Some(PbOp::RequestRange(request)) => Op::Range(range(request)?),
        Some(PbOp::RequestPut(request)) => Op::Put(put(request)),
        Some(PbOp::RequestDeleteRange(request)) => Op::Delete(delete(request)?),
        Some(PbOp::RequestTxn(request)) => Op::Txn(txn(request, depth)?),
        // As etcd answers an operation that is none.
        None => return Err(refusal::KEY_NOT_FOUND.into()),
    })
}

fn compare(request: &pb::Compare) -> Result<Compare, Status> {
    if request.key.is_empty() {
        return Err(refusal::EMPTY_KEY.into());
    }
    let invalid =
        |what: &str| Status::invalid_argument(format!("etcdserver: unknown {what} of a comparison"));
    let op = match CompareResult::try_from(request.result) {
        Ok(CompareResult::Equal) => CompareOp::Equal,
        Ok(CompareResult::NotEqual) => CompareOp::NotEqual,
        Ok(CompareResult::Greater) => CompareOp::Greater,
        Ok(CompareResult::Less) => CompareOp::Less,
        Err(_unknown) => return Err(invalid("result")),
    };
    // `target` decides; the value beside it may be missing or of another kind, and is zero then.
    let union = request.target_union.as_ref();
    let target = match PbTarget::try_from(request.target) {
        Ok(PbTarget::Version) => CompareTarget::Version(match union {
            Some(TargetUnion::Version(version)) => *version,
            _ => 0,
        }),
        Ok(PbTarget::Create) => CompareTarget::Create(Revision(match union {
            Some(TargetUnion::CreateRevision(revision)) => *revision,
            _ => 0,
        })),
        Ok(PbTarget::Mod) => CompareTarget::Mod(Revision(match union {
            Some(TargetUnion::ModRevision(revision)) => *revision,
            _ => 0,
        })),
        Ok(PbTarget::Value) => CompareTarget::Value(match union {
            Some(TargetUnion::Value(value)) => owned(value),
            _ => Bytes::new(),
        }),
        Ok(PbTarget::Lease) => CompareTarget::Lease(LeaseId(match union {
            Some(TargetUnion::Lease(lease)) => *lease,
            _ => 0,
        })),
        Err(_unknown) => return Err(invalid("target")),
    };
    Ok(Compare { key: owned(&request.key), target, op, range_end: range_end(&request.range_end) })
}

pub(super) fn key_value(kv: KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: kv.key,
        create_revision: kv.create_revision.0,
        mod_revision: kv.mod_revision.0,
        version: kv.version,
        value: kv.value,
        lease: kv.lease.0,
    }
}

fn key_values(kvs: Vec<KeyValue>) -> Vec<mvccpb::KeyValue> {
    kvs.into_iter().map(key_value).collect()
}

/// The header is the caller's: inside a transaction it has only the revision.
type Header = Option<pb::ResponseHeader>;

pub(super) fn range_response(header: Header, response: RangeResponse) -> pb::RangeResponse {
    let RangeResponse { kvs, more, count, .. } = response;
    pb::RangeResponse { header, kvs: key_values(kvs), more, count: count as i64 }
}

pub(super) fn put_response(header: Header, response: PutResponse) -> pb::PutResponse {
    pb::PutResponse { header, prev_kv: response.prev.map(key_value) }
}

pub(super) fn delete_response(header: Header, response: DeleteRangeResponse) -> pb::DeleteRangeResponse {
    pb::DeleteRangeResponse { header, deleted: response.deleted as i64, prev_kvs: key_values(response.prev) }
}

pub(super) fn txn_response(header: Header, response: TxnResponse) -> pb::TxnResponse {
    let responses = response.responses.into_iter().map(op_response).collect();
    pb::TxnResponse { header, succeeded: response.succeeded, responses }
}

fn op_response(response: OpResponse) -> pb::ResponseOp {
    let at = |revision: Revision| Some(pb::ResponseHeader { revision: revision.0, ..Default::default() });
    let response = match response {
        OpResponse::Range(range) => PbOpResponse::ResponseRange(range_response(at(range.revision), range)),
        OpResponse::Put(put) => PbOpResponse::ResponsePut(put_response(at(put.revision), put)),
        OpResponse::Delete(delete) => {
            PbOpResponse::ResponseDeleteRange(delete_response(at(delete.revision), delete))
        }
        OpResponse::Txn(txn) => PbOpResponse::ResponseTxn(txn_response(at(txn.revision), txn)),
    };
    pb::ResponseOp { response: Some(response) }
}
