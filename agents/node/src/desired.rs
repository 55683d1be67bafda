//! The pods that the API wants on this node, as one snapshot by uid.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use mainstay_agents_kit::informer::Reader;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Pods by uid.
pub(crate) type Desired = Arc<BTreeMap<String, Arc<Pod>>>;

/// Publishes a new snapshot after every change, from the first complete list on.
pub(crate) async fn run(pods: Reader<Pod>, desired: watch::Sender<Option<Desired>>, stop: CancellationToken) {
    let mut changes = pods.subscribe();
    tokio::select! {
        biased;
        () = stop.cancelled() => return,
        () = pods.synced() => {}
    }
    loop {
        let snapshot = pods.snapshot();
        let by_uid = snapshot.values().filter_map(|pod| Some((pod.metadata.uid.clone()?, Arc::clone(pod))));
        desired.send_replace(Some(Arc::new(by_uid.collect())));
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            change = changes.next() => if change.is_none() { return },
        }
    }
}
