//! Deleting the objects of a definition before the definition itself goes.

use mainstay_apiserver_extensions::crd::{
    CLEANUP_FINALIZER, CUSTOM_RESOURCE_DEFINITION, Condition, set_condition,
};
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::object::{Meta, MetaMut};
use mainstay_apiserver_machinery::pipeline;
use mainstay_apiserver_machinery::pipeline::deletion::DeleteOptions;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;
use smol_str::SmolStr;
use time::OffsetDateTime;
use tracing::warn;

use crate::bootstrap::seed::Seeder;
use crate::handlers::WriteRequest;

/// Deletes of one pass that are told when they fail.
const FAILURES_TOLD: usize = 3;

/// Asks every object of `kind` to go. Answers how many are left: those with finalizers of their own, and those whose
/// delete failed.
pub(super) async fn delete_objects(seeder: &Seeder, kind: &'static Kind) -> Result<usize, Status> {
    let mut failures = 0;
    for object in seeder.registry().snapshot_fresh(kind).await?.iter() {
        if object.header.deleting {
            continue;
        }
        let request: WriteRequest = Seeder::request(kind, &object.header.namespace, &object.header.name);
        match seeder.writer().delete(&request, &DeleteOptions::default()).await {
            Ok(_) => {}
            Err(status) if status.reason == "NotFound" => {}
            Err(status) => {
                failures += 1;
                if failures <= FAILURES_TOLD {
                    warn!(object = %object.header.key(), error = %status.message, "a custom object is not deleted");
                }
            }
        }
    }
    Ok(seeder.registry().snapshot_fresh(kind).await?.len())
}

/// Lets the definition go, or says what it waits for.
pub(super) async fn settle(
    seeder: &Seeder,
    name: &str,
    left: Option<usize>,
    now: OffsetDateTime,
) -> Result<(), Status> {
    let registry = seeder.registry();
    let (status, reason, message) = match left {
        None => ("False", "NeverEstablished", "resource was never established".to_owned()),
        Some(0) => ("False", "InstanceDeletionCompleted", "removed all instances".to_owned()),
        Some(left) => (
            "True",
            "InstanceDeletionInProgress",
            format!("CustomResource deletion is in progress: {left} instances remain"),
        ),
    };
    let is_done = status == "False";
    let condition = Condition { condition_type: "Terminating", status, reason, message };
    let kind = &CUSTOM_RESOURCE_DEFINITION;
    let marked = registry
        .update_with(kind, "", name, |mut crd: Value| {
            let before = crd.clone();
            set_condition(&mut crd, &condition, now);
            if is_done {
                let kept: Vec<SmolStr> = Meta(&crd)
                    .finalizers()
                    .filter(|one| *one != CLEANUP_FINALIZER)
                    .map(SmolStr::new)
                    .collect();
                MetaMut(&mut crd).set_finalizers(kept.iter().map(SmolStr::as_str));
            }
            Ok((crd != before).then_some(crd))
        })
        .await;
    match marked {
        Ok(stored) if pipeline::removes_object(kind, &stored.object) => {
            registry.remove(kind, &stored.cached).await.map(drop)
        }
        Ok(_) => Ok(()),
        Err(status) if status.reason == "NotFound" => Ok(()),
        Err(status) => Err(status),
    }
}
