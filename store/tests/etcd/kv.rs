//! KV.
use futures::StreamExt;
use mainstay_proto_wire::etcd::etcdserverpb as pb;
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::range_request::{SortOrder, SortTarget};
use pb::request_op::Request as Op;
use pb::response_op::Response as OpResponse;
use prost::Message;
use tonic::Code;

use crate::rig::{Rig, bytes, refusal, refused};

fn all() -> pb::RangeRequest {
    pb::RangeRequest { key: bytes("a"), range_end: bytes("z"), ..Default::default() }
}

fn keys(response: &pb::RangeResponse) -> String {
    let keys: Vec<_> = response.kvs.iter().map(|kv| String::from_utf8(kv.key.to_vec()).unwrap()).collect();
    keys.join(" ")
}

/// Five keys: a=5 written twice, b=4, c=3, d=2, e=1.
async fn filled() -> Rig {
    let rig = Rig::start().await;
    for (key, value) in [("a", "9"), ("b", "4"), ("c", "3"), ("d", "2"), ("e", "1"), ("a", "5")] {
        rig.put(key, value).await;
    }
    rig
}

#[tokio::test]
async fn range_obeys_every_field() {
    let rig = filled().await;
    let sorted = |target: SortTarget, order: SortOrder| pb::RangeRequest {
        sort_target: target.into(),
        sort_order: order.into(),
        ..all()
    };
    let cases = [
        ("one key", pb::RangeRequest { range_end: bytes(""), ..all() }, "a", 1, false),
        ("all", all(), "a b c d e", 5, false),
        ("end exclusive", pb::RangeRequest { range_end: bytes("c"), ..all() }, "a b", 2, false),
        (
            "to the last key",
            pb::RangeRequest { key: bytes("d"), range_end: bytes("\0"), ..all() },
            "d e",
            2,
            false,
        ),
        ("limit", pb::RangeRequest { limit: 2, ..all() }, "a b", 5, true),
        ("limit that is the size", pb::RangeRequest { limit: 5, ..all() }, "a b c d e", 5, false),
        ("negative limit", pb::RangeRequest { limit: -1, ..all() }, "a b c d e", 5, false),
        ("at a revision", pb::RangeRequest { revision: 3, ..all() }, "a b", 2, false),
        ("count only", pb::RangeRequest { count_only: true, limit: 1, ..all() }, "", 5, false),
        ("serializable", pb::RangeRequest { serializable: true, ..all() }, "a b c d e", 5, false),
        ("by key", sorted(SortTarget::Key, SortOrder::Descend), "e d c b a", 5, false),
        ("by value", sorted(SortTarget::Value, SortOrder::Ascend), "e d c b a", 5, false),
        ("by value, order left out", sorted(SortTarget::Value, SortOrder::None), "e d c b a", 5, false),
        ("by mod revision", sorted(SortTarget::Mod, SortOrder::Ascend), "b c d e a", 5, false),
        ("by create revision", sorted(SortTarget::Create, SortOrder::Descend), "e d c b a", 5, false),
        ("by version", sorted(SortTarget::Version, SortOrder::Descend), "a b c d e", 5, false),
        (
            "sorted limit",
            pb::RangeRequest { limit: 2, ..sorted(SortTarget::Mod, SortOrder::Descend) },
            "a e",
            5,
            true,
        ),
        ("min mod", pb::RangeRequest { min_mod_revision: 5, ..all() }, "a d e", 5, false),
        ("max mod", pb::RangeRequest { max_mod_revision: 4, ..all() }, "b c", 5, false),
        ("min create", pb::RangeRequest { min_create_revision: 5, ..all() }, "d e", 5, false),
        ("max create", pb::RangeRequest { max_create_revision: 3, ..all() }, "a b", 5, false),
        ("filtered limit", pb::RangeRequest { min_mod_revision: 4, limit: 1, ..all() }, "a", 5, true),
    ];
    for (what, request, wanted, count, more) in cases {
        let response = rig.range(request).await.unwrap();
        assert_eq!(
            (keys(&response).as_str(), response.count, response.more),
            (wanted, count, more),
            "{what}"
        );
        assert_eq!(response.header.unwrap().revision, 7, "{what}");
    }
    let keys_only = rig.range(pb::RangeRequest { keys_only: true, ..all() }).await.unwrap();
    assert!(keys_only.kvs.iter().all(|kv| kv.value.is_empty() && kv.mod_revision > 0));
    let by_hidden = pb::RangeRequest { keys_only: true, ..sorted(SortTarget::Value, SortOrder::Ascend) };
    let by_hidden = rig.range(by_hidden).await.unwrap();
    assert_eq!(keys(&by_hidden), "e d c b a");
    assert!(by_hidden.kvs.iter().all(|kv| kv.value.is_empty()));
    let first = rig.range(pb::RangeRequest { range_end: bytes(""), ..all() }).await.unwrap();
    let kv = &first.kvs[0];
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version, kv.lease), (2, 7, 2, 0));
    assert_eq!(kv.value, "5");
    rig.stop().await;
}

#[tokio::test]
async fn wrong_ranges_are_refused_in_etcds_words() {
    let rig = filled().await;
    rig.store.compact(mainstay_store::Revision(4)).await.unwrap();
    let cases = [
        (pb::RangeRequest { key: bytes(""), ..all() }, refusal(Code::InvalidArgument, "key is not provided")),
        (pb::RangeRequest { sort_order: 9, ..all() }, refusal(Code::InvalidArgument, "invalid sort option")),
        (pb::RangeRequest { sort_target: 9, ..all() }, refusal(Code::InvalidArgument, "invalid sort option")),
        (
            pb::RangeRequest { revision: 3, ..all() },
            refusal(Code::OutOfRange, "mvcc: required revision has been compacted"),
        ),
        (
            pb::RangeRequest { revision: 99, ..all() },
            refusal(Code::OutOfRange, "mvcc: required revision is a future revision"),
        ),
    ];
    for (request, wanted) in cases {
        assert_eq!(refused(rig.range(request).await), wanted);
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_streamed_range_merges_to_the_range() {
    let rig = Rig::start().await;
    for number in 0..2500 {
        rig.store.put(format!("k{number:05}"), "value").await.unwrap();
    }
    let cases = [
        pb::RangeRequest { key: bytes("k"), range_end: bytes("l"), ..Default::default() },
        pb::RangeRequest { key: bytes("k"), range_end: bytes("l"), limit: 1200, ..Default::default() },
        pb::RangeRequest { key: bytes("k"), range_end: bytes("l"), revision: 100, ..Default::default() },
        pb::RangeRequest { key: bytes("k"), range_end: bytes("l"), count_only: true, ..Default::default() },
        pb::RangeRequest { key: bytes("k00001"), keys_only: true, ..Default::default() },
        pb::RangeRequest { key: bytes("none"), ..Default::default() },
    ];
    for request in cases {
        let mut parts = rig.kv().range_stream(request.clone()).await.unwrap().into_inner();
        let mut merged = pb::RangeStreamResponse::default();
        while let Some(part) = parts.next().await {
            merged.merge(&part.unwrap().encode_to_vec()[..]).unwrap();
        }
        let mut whole = rig.range(request.clone()).await.unwrap();
        if request.revision > 0 {
            // The parts name the revision that was read.
            whole.header.as_mut().unwrap().revision = request.revision;
        }
        assert_eq!(merged.range_response.unwrap(), whole, "{request:?}");
    }
    let sorted =
        pb::RangeRequest { key: bytes("k"), sort_order: SortOrder::Descend.into(), ..Default::default() };
    let filtered = pb::RangeRequest { key: bytes("k"), min_mod_revision: 1, ..Default::default() };
    let refused_sort = refused(rig.kv().range_stream(sorted).await);
    assert_eq!(refused_sort, (Code::Unimplemented, "RangeStream does not support custom sort orders".into()));
    let refused_filter = refused(rig.kv().range_stream(filtered).await);
    assert_eq!(refused_filter, (Code::Unimplemented, "RangeStream does not support revision filters".into()));
    rig.stop().await;
}

#[tokio::test]
async fn put_obeys_every_field() {
    let rig = Rig::start().await;
    let mut kv = rig.kv();
    let lease = rig.store.lease_grant(std::time::Duration::from_secs(60), None).await.unwrap().id.0;
    let put = |value: &str, lease: i64| pb::PutRequest {
        key: bytes("k"),
        value: bytes(value),
        lease,
        ..Default::default()
    };
    let first = kv.put(pb::PutRequest { prev_kv: true, ..put("one", lease) }).await.unwrap().into_inner();
    assert_eq!((first.header.unwrap().revision, first.prev_kv), (2, None));
    let second =
        kv.put(pb::PutRequest { ignore_value: true, prev_kv: true, ..put("", lease) }).await.unwrap();
    let prev = second.into_inner().prev_kv.unwrap();
    assert_eq!((&prev.value[..], prev.lease, prev.version), (&b"one"[..], lease, 1));
    kv.put(pb::PutRequest { ignore_lease: true, ..put("two", 0) }).await.unwrap();
    let now =
        rig.range(pb::RangeRequest { key: bytes("k"), ..Default::default() }).await.unwrap().kvs.remove(0);
    assert_eq!((&now.value[..], now.lease, now.version), (&b"two"[..], lease, 3));
    let cases = [
        (
            pb::PutRequest { key: bytes(""), ..put("v", 0) },
            refusal(Code::InvalidArgument, "key is not provided"),
        ),
        (
            pb::PutRequest { ignore_value: true, ..put("v", 0) },
            refusal(Code::InvalidArgument, "value is provided"),
        ),
        (
            pb::PutRequest { ignore_lease: true, ..put("v", lease) },
            refusal(Code::InvalidArgument, "lease is provided"),
        ),
        (
            pb::PutRequest { key: bytes("none"), ignore_value: true, ..put("", 0) },
            refusal(Code::InvalidArgument, "key not found"),
        ),
        (
            pb::PutRequest { key: bytes("none"), ignore_lease: true, ..put("v", 0) },
            refusal(Code::InvalidArgument, "key not found"),
        ),
        (put("v", 999), refusal(Code::NotFound, "requested lease not found")),
        (put(&"v".repeat(100_000), 0), refusal(Code::InvalidArgument, "request is too large")),
    ];
    for (request, wanted) in cases {
        assert_eq!(refused(kv.put(request).await), wanted);
    }
    rig.stop().await;
}

#[tokio::test]
async fn delete_obeys_every_field() {
    let rig = filled().await;
    let mut kv = rig.kv();
    let one = pb::DeleteRangeRequest { key: bytes("a"), prev_kv: true, ..Default::default() };
    let response = kv.delete_range(one.clone()).await.unwrap().into_inner();
    assert_eq!((response.deleted, response.header.unwrap().revision), (1, 8));
    assert_eq!(response.prev_kvs[0].value, "5");
    let again = kv.delete_range(one).await.unwrap().into_inner();
    assert_eq!((again.deleted, again.header.unwrap().revision, again.prev_kvs.len()), (0, 8, 0));
    let range = pb::DeleteRangeRequest { key: bytes("b"), range_end: bytes("d"), ..Default::default() };
    let response = kv.delete_range(range).await.unwrap().into_inner();
    assert_eq!((response.deleted, response.prev_kvs.len()), (2, 0));
    let rest = pb::DeleteRangeRequest { key: bytes("\0"), range_end: bytes("\0"), ..Default::default() };
    assert_eq!(kv.delete_range(rest).await.unwrap().into_inner().deleted, 2);
    let empty = refused(kv.delete_range(pb::DeleteRangeRequest::default()).await);
    assert_eq!(empty, refusal(Code::InvalidArgument, "key is not provided"));
    rig.stop().await;
}

fn compare(result: CompareResult, target: CompareTarget, union: TargetUnion) -> pb::Compare {
    pb::Compare {
        key: bytes("a"),
        result: result.into(),
        target: target.into(),
        target_union: Some(union),
        range_end: bytes(""),
    }
}

fn put_op(key: &str, value: &str) -> pb::RequestOp {
    let put = pb::PutRequest { key: bytes(key), value: bytes(value), ..Default::default() };
    pb::RequestOp { request: Some(Op::RequestPut(put)) }
}

fn delete_op(key: &str, end: &str) -> pb::RequestOp {
    let delete = pb::DeleteRangeRequest { key: bytes(key), range_end: bytes(end), prev_kv: false };
    pb::RequestOp { request: Some(Op::RequestDeleteRange(delete)) }
}

fn txn_op(txn: pb::TxnRequest) -> pb::RequestOp {
    pb::RequestOp { request: Some(Op::RequestTxn(txn)) }
}

fn then(success: Vec<pb::RequestOp>) -> pb::TxnRequest {
    pb::TxnRequest { success, ..Default::default() }
}

#[tokio::test]
async fn comparisons_of_every_kind_decide() {
    use CompareResult::{Equal, Greater, Less, NotEqual};
    use CompareTarget::{Create, Lease, Mod, Value, Version};
    let rig = filled().await;
    let cases = [
        (compare(Equal, Version, TargetUnion::Version(2)), true),
        (compare(Greater, Version, TargetUnion::Version(2)), false),
        (compare(Less, Create, TargetUnion::CreateRevision(3)), true),
        (compare(Equal, Mod, TargetUnion::ModRevision(7)), true),
        (compare(NotEqual, Mod, TargetUnion::ModRevision(7)), false),
        (compare(Equal, Value, TargetUnion::Value(bytes("5"))), true),
        (compare(Less, Value, TargetUnion::Value(bytes("5"))), false),
        (compare(Equal, Lease, TargetUnion::Lease(0)), true),
        (pb::Compare { range_end: bytes("z"), ..compare(Greater, Version, TargetUnion::Version(0)) }, true),
        (pb::Compare { range_end: bytes("z"), ..compare(Greater, Version, TargetUnion::Version(1)) }, false),
        (pb::Compare { key: bytes("none"), ..compare(Equal, Create, TargetUnion::CreateRevision(0)) }, true),
        (
            pb::Compare { key: bytes("none"), ..compare(NotEqual, Value, TargetUnion::Value(bytes("x"))) },
            false,
        ),
        // The target decides; a value of another kind counts as zero.
        (compare(Equal, Lease, TargetUnion::Version(9)), true),
    ];
    for (compare, holds) in cases {
        let request = pb::TxnRequest { compare: vec![compare.clone()], ..Default::default() };
        let response = rig.kv().txn(request).await.unwrap().into_inner();
        assert_eq!(response.succeeded, holds, "{compare:?}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_transaction_is_one_revision_with_nested_parts() {
    let rig = filled().await;
    let range = pb::RequestOp { request: Some(Op::RequestRange(all())) };
    let nested = pb::TxnRequest {
        compare: vec![compare(CompareResult::Equal, CompareTarget::Version, TargetUnion::Version(99))],
        failure: vec![put_op("n", "nested")],
        ..Default::default()
    };
    let request = then(vec![put_op("f", "new"), delete_op("b", "e"), txn_op(nested), range]);
    let response = rig.kv().txn(request).await.unwrap().into_inner();
    assert!(response.succeeded);
    assert_eq!(response.header.unwrap().revision, 8);
    let parts: Vec<_> = response.responses.into_iter().filter_map(|part| part.response).collect();
    let [
        OpResponse::ResponsePut(put),
        OpResponse::ResponseDeleteRange(delete),
        OpResponse::ResponseTxn(nested),
        OpResponse::ResponseRange(range),
    ] = &parts[..]
    else {
        panic!("{parts:?}")
    };
    assert_eq!(put.header.as_ref().unwrap().revision, 8);
    assert_eq!(delete.deleted, 3);
    assert!(!nested.succeeded && nested.responses.len() == 1);
    assert_eq!(keys(range), "a e f n");
    rig.stop().await;
}

#[tokio::test]
async fn wrong_transactions_are_refused_in_etcds_words() {
    let rig = filled().await;
    let many = |count: usize| (0..count).map(|number| put_op(&format!("k{number}"), "v")).collect::<Vec<_>>();
    let empty_compare = pb::Compare { key: bytes(""), ..Default::default() };
    let ignoring =
        pb::PutRequest { key: bytes("a"), value: bytes("v"), ignore_value: true, ..Default::default() };
    let future = pb::RangeRequest { revision: 99, ..all() };
    let cases = [
        (
            then(vec![put_op("x", "1"), put_op("x", "2")]),
            refusal(Code::InvalidArgument, "duplicate key given in txn request"),
        ),
        (
            then(vec![delete_op("w", "y"), put_op("x", "2")]),
            refusal(Code::InvalidArgument, "duplicate key given in txn request"),
        ),
        (then(many(129)), refusal(Code::InvalidArgument, "too many operations in txn request")),
        // What lies inside has only the operations left that the outer one does not use.
        (
            then(
                [many(100), vec![txn_op(then((0..40).map(|n| put_op(&format!("n{n}"), "")).collect()))]]
                    .concat(),
            ),
            refusal(Code::InvalidArgument, "too many operations in txn request"),
        ),
        (then(vec![put_op("", "v")]), refusal(Code::InvalidArgument, "key is not provided")),
        (
            pb::TxnRequest { compare: vec![empty_compare], ..Default::default() },
            refusal(Code::InvalidArgument, "key is not provided"),
        ),
        (then(vec![pb::RequestOp { request: None }]), refusal(Code::InvalidArgument, "key not found")),
        (
            then(vec![pb::RequestOp { request: Some(Op::RequestPut(ignoring)) }]),
            refusal(Code::InvalidArgument, "value is provided"),
        ),
        (
            then(vec![pb::RequestOp { request: Some(Op::RequestRange(future)) }]),
            refusal(Code::OutOfRange, "mvcc: required revision is a future revision"),
        ),
    ];
    for (request, wanted) in cases {
        assert_eq!(refused(rig.kv().txn(request).await), wanted);
    }
    assert_eq!(rig.store.revision().0, 7, "nothing was written");
    rig.stop().await;
}

#[tokio::test]
async fn compaction_ends_history_in_etcds_words() {
    let rig = filled().await;
    let compact = |revision| pb::CompactionRequest { revision, physical: true };
    let response = rig.kv().compact(compact(5)).await.unwrap().into_inner();
    assert_eq!(response.header.unwrap().revision, 7);
    let again = refused(rig.kv().compact(compact(5)).await);
    assert_eq!(again, refusal(Code::OutOfRange, "mvcc: required revision has been compacted"));
    let ahead = refused(rig.kv().compact(compact(99)).await);
    assert_eq!(ahead, refusal(Code::OutOfRange, "mvcc: required revision is a future revision"));
    rig.stop().await;
}
