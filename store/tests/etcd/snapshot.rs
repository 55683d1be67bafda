//! Maintenance.Snapshot.
use mainstay_proto_wire::etcd::etcdserverpb as pb;
use mainstay_store::{RestoreOptions, Store, restore};
use pb::maintenance_client::MaintenanceClient;
use tonic::Request;
use tonic::metadata::MetadataValue;

use crate::rig::Rig;

async fn taken(rig: &Rig, request: Request<pb::SnapshotRequest>) -> (Vec<u8>, Vec<u64>) {
    let mut client = MaintenanceClient::new(rig.channel.clone());
    let mut answers = client.snapshot(request).await.unwrap().into_inner();
    let (mut bytes, mut remaining) = (Vec::new(), Vec::new());
    while let Some(answer) = answers.message().await.unwrap() {
        assert_eq!(answer.header.unwrap().revision, rig.store.revision().0);
        assert_eq!(answer.version, "3.6.0");
        bytes.extend_from_slice(&answer.blob);
        remaining.push(answer.remaining_bytes);
    }
    (bytes, remaining)
}

#[tokio::test]
async fn a_snapshot_says_how_much_remains_and_ends_with_its_sum() {
    let rig = Rig::start().await;
    for number in 0..40 {
        rig.put(&format!("k{number}"), &"v".repeat(30_000)).await;
    }
    let (bytes, remaining) = taken(&rig, Request::new(pb::SnapshotRequest {})).await;
    assert_eq!(bytes.len() % 512, 32, "pages, then the sum");
    assert!(remaining.is_sorted_by(|a, b| a >= b) && remaining.len() > 4, "{remaining:?}");
    assert_eq!(&remaining[remaining.len() - 2..], [0, 0]);
    let layout = b"storageVersion3.6.0";
    assert!(bytes.windows(layout.len()).any(|found| found == layout), "etcdutl reads it as the version");
    rig.stop().await;
}

#[tokio::test]
async fn a_snapshot_of_this_stores_format_is_of_all_or_of_a_prefix() {
    let rig = Rig::start().await;
    rig.put("a/1", "x").await;
    rig.put("b/1", "y").await;
    for (prefix, keys) in [(None, 2), (Some("a/"), 1)] {
        let mut request = Request::new(pb::SnapshotRequest {});
        request.metadata_mut().insert("mainstay-snapshot", MetadataValue::from_static("rows"));
        if let Some(prefix) = prefix {
            let prefix: &str = prefix;
            request
                .metadata_mut()
                .insert_bin("mainstay-prefix-bin", MetadataValue::from_bytes(prefix.as_bytes()));
        }
        let (bytes, _) = taken(&rig, request).await;
        let dir = tempfile::tempdir().unwrap();
        let new = dir.path().join("new");
        assert_eq!(restore(&bytes[..], &new, &RestoreOptions::default()).unwrap().keys, keys);
        let config = mainstay_store::Config { dir: new, disk_reserve_bytes: 0, ..Default::default() };
        let store = Store::open(config).await.unwrap();
        assert_eq!(store.get("a/1").await.unwrap().unwrap().value, "x");
        store.close().await.unwrap();
    }
    rig.stop().await;
}
