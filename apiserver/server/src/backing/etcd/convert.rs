//! The library's requests as etcd's messages, and etcd's answers as the library's. Pure.

use bytes::Bytes;
use mainstay_proto_wire::etcd::{etcdserverpb as pb, mvccpb};
use mainstay_store::{
    Compare, CompareOp, CompareTarget, DeleteRangeRequest, DeleteRangeResponse, KeyValue, LeaseId, Op,
    OpResponse, PutRequest, PutResponse, RangeRequest, RangeResponse, Revision, Txn, TxnResponse,
};
use pb::compare::{CompareResult, CompareTarget as PbTarget, TargetUnion};
use pb::request_op::Request as PbOp;
use pb::response_op::Response as PbOpResponse;

use super::keys::KeySpace;

/// The revision of an answer.
pub(super) fn revision(header: Option<&pb::ResponseHeader>) -> Revision {
    Revision(header.map_or(0, |header| header.revision))
}

fn end(keys: &KeySpace, range_end: Option<&Bytes>) -> Bytes {
    range_end.map(|end| keys.outward(end)).unwrap_or_default()
}

pub(super) fn range(keys: &KeySpace, request: &RangeRequest) -> pb::RangeRequest {
    pb::RangeRequest {
        key: keys.outward(&request.key),
        range_end: end(keys, request.range_end.as_ref()),
        limit: i64::try_from(request.limit).unwrap_or(i64::MAX),
        revision: request.revision.map_or(0, |revision| revision.0),
        keys_only: request.keys_only,
        count_only: request.count_only,
        serializable: request.serializable,
        ..pb::RangeRequest::default()
    }
}

fn put(keys: &KeySpace, request: PutRequest) -> pb::PutRequest {
    pb::PutRequest {
        key: keys.outward(&request.key),
        value: request.value,
        lease: request.lease.0,
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    }
}

pub(super) fn delete(keys: &KeySpace, request: &DeleteRangeRequest) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest {
        key: keys.outward(&request.key),
        range_end: end(keys, request.range_end.as_ref()),
        prev_kv: request.prev_kv,
    }
}

pub(super) fn txn(keys: &KeySpace, txn: Txn) -> pb::TxnRequest {
    let ops = |ops: Vec<Op>| ops.into_iter().map(|op| self::op(keys, op)).collect();
    pb::TxnRequest {
        compare: txn.compare.into_iter().map(|compare| self::compare(keys, compare)).collect(),
        success: ops(txn.success),
        failure: ops(txn.failure),
    }
}

fn op(keys: &KeySpace, op: Op) -> pb::RequestOp {
    let request = match op {
        Op::Put(request) => PbOp::RequestPut(put(keys, request)),
        Op::Delete(request) => PbOp::RequestDeleteRange(delete(keys, &request)),
        Op::Range(request) => PbOp::RequestRange(range(keys, &request)),
        Op::Txn(request) => PbOp::RequestTxn(txn(keys, request)),
    };
    pb::RequestOp { request: Some(request) }
}

fn compare(keys: &KeySpace, compare: Compare) -> pb::Compare {
    let result = match compare.op {
        CompareOp::Equal => CompareResult::Equal,
        CompareOp::NotEqual => CompareResult::NotEqual,
        CompareOp::Greater => CompareResult::Greater,
        CompareOp::Less => CompareResult::Less,
    };
    let (target, union) = match compare.target {
        CompareTarget::Value(value) => (PbTarget::Value, TargetUnion::Value(value)),
        CompareTarget::Version(version) => (PbTarget::Version, TargetUnion::Version(version)),
        CompareTarget::Create(revision) => (PbTarget::Create, TargetUnion::CreateRevision(revision.0)),
        CompareTarget::Mod(revision) => (PbTarget::Mod, TargetUnion::ModRevision(revision.0)),
        CompareTarget::Lease(lease) => (PbTarget::Lease, TargetUnion::Lease(lease.0)),
    };
    pb::Compare {
        result: result.into(),
        target: target.into(),
        key: keys.outward(&compare.key),
        range_end: end(keys, compare.range_end.as_ref()),
        target_union: Some(union),
    }
}

/// None for a key that is not ours, of which a range below our prefix has none.
pub(super) fn key_value(keys: &KeySpace, kv: mvccpb::KeyValue) -> Option<KeyValue> {
    Some(KeyValue {
        key: keys.inward(&kv.key)?,
        value: kv.value,
        create_revision: Revision(kv.create_revision),
        mod_revision: Revision(kv.mod_revision),
        version: kv.version,
        lease: LeaseId(kv.lease),
    })
}

fn key_values(keys: &KeySpace, kvs: Vec<mvccpb::KeyValue>) -> Vec<KeyValue> {
    kvs.into_iter().filter_map(|kv| key_value(keys, kv)).collect()
}

pub(super) fn range_response(keys: &KeySpace, answer: pb::RangeResponse) -> RangeResponse {
    RangeResponse {
        revision: revision(answer.header.as_ref()),
        kvs: key_values(keys, answer.kvs),
        more: answer.more,
        count: answer.count.unsigned_abs(),
    }
}

pub(super) fn delete_response(keys: &KeySpace, answer: pb::DeleteRangeResponse) -> DeleteRangeResponse {
    DeleteRangeResponse {
        revision: revision(answer.header.as_ref()),
        deleted: answer.deleted.unsigned_abs(),
        prev: key_values(keys, answer.prev_kvs),
    }
}

pub(super) fn txn_response(keys: &KeySpace, answer: pb::TxnResponse) -> TxnResponse {
    let responses = answer.responses.into_iter().filter_map(|response| response.response);
    TxnResponse {
        revision: revision(answer.header.as_ref()),
        succeeded: answer.succeeded,
        responses: responses.map(|response| op_response(keys, response)).collect(),
    }
}

fn op_response(keys: &KeySpace, response: PbOpResponse) -> OpResponse {
    match response {
        PbOpResponse::ResponseRange(range) => OpResponse::Range(range_response(keys, range)),
        PbOpResponse::ResponsePut(put) => OpResponse::Put(PutResponse {
            revision: revision(put.header.as_ref()),
            prev: put.prev_kv.and_then(|kv| key_value(keys, kv)),
        }),
        PbOpResponse::ResponseDeleteRange(deleted) => OpResponse::Delete(delete_response(keys, deleted)),
        PbOpResponse::ResponseTxn(txn) => OpResponse::Txn(txn_response(keys, txn)),
    }
}
