//! Follows the FlowSchemas and PriorityLevelConfigurations of the cluster, and lends seats between levels.

use std::time::Duration;

use mainstay_apiserver_kinds::{FLOW_SCHEMA, PRIORITY_LEVEL_CONFIGURATION};
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::control::FlowControl;
use crate::cache::Snapshot;
use crate::registry::Registry;

/// Between two looks at which levels have use for more seats than they have; upstream's.
const LENDING_PERIOD: Duration = Duration::from_secs(10);

/// Plans by what the cache holds now.
pub(crate) fn load(control: &FlowControl, registry: &Registry) {
    control.replan(&objects(registry, &FLOW_SCHEMA), &objects(registry, &PRIORITY_LEVEL_CONFIGURATION));
}

/// Plans anew whenever an object changes, until `stop`.
///
/// # Errors
/// Kinds that are not stored.
pub(crate) async fn keep(
    control: FlowControl,
    registry: Registry,
    stop: CancellationToken,
) -> Result<(), Status> {
    let mut schemas = registry.changes(&FLOW_SCHEMA)?;
    let mut levels = registry.changes(&PRIORITY_LEVEL_CONFIGURATION)?;
    let mut period = tokio::time::interval(LENDING_PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        schemas.borrow_and_update();
        levels.borrow_and_update();
        load(&control, &registry);
        // All three may be dropped half-way: a change is still there to be seen, and a tick is only late.
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                end = schemas.changed() => if end.is_err() { return Ok(()) } else { break },
                end = levels.changed() => if end.is_err() { return Ok(()) } else { break },
                _ = period.tick() => control.lend(),
            }
        }
    }
}

fn objects(registry: &Registry, kind: &'static Kind) -> Vec<Value> {
    let snapshot = registry.snapshot(kind);
    let decoded = snapshot.iter().flat_map(Snapshot::iter).filter_map(|cached| {
        cached.decode().inspect_err(|error| warn!(%error, "an object of flow control is left out")).ok()
    });
    decoded.collect()
}
