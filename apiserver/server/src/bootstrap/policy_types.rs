//! Keeps the statuses of ValidatingAdmissionPolicies: what of their expressions does not fit the types of their objects.
//! Upstream has this loop in its controller manager.

use mainstay_apiserver_kinds::{KnownKinds, VALIDATING_ADMISSION_POLICY, has_type_check, type_checked};
use mainstay_apiserver_machinery::pipeline::Target;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::seed::Seeder;
use crate::handlers::FieldOwner;

/// The manager under which statuses are written, as upstream.
const MANAGER: &str = "validatingadmissionpolicy-status-controller";

/// Checks each policy when it changes, until `stop`.
///
/// # Errors
/// Policies that are not stored.
pub async fn keep(seeder: Seeder, stop: CancellationToken) -> Result<(), Status> {
    let mut policies = seeder.registry().changes(&VALIDATING_ADMISSION_POLICY)?;
    loop {
        policies.borrow_and_update();
        // What is dropped half-way is done at the next start.
        let checked = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            checked = check_all(&seeder) => checked,
        };
        if let Err(error) = checked {
            warn!(error = %error.message, "the types of a policy are not checked");
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            end = policies.changed() => if end.is_err() { return Ok(()) },
        }
    }
}

async fn check_all(seeder: &Seeder) -> Result<(), Status> {
    let registry = seeder.registry();
    for cached in registry.snapshot_fresh(&VALIDATING_ADMISSION_POLICY).await?.iter() {
        if has_type_check(&registry.decode_served(&VALIDATING_ADMISSION_POLICY, cached)?) {
            continue;
        }
        let mut request = Seeder::request(&VALIDATING_ADMISSION_POLICY, "", &cached.header.name);
        request.owner = FieldOwner::Manager(MANAGER.into());
        let served = registry.served();
        let kinds = KnownKinds {
            by_resource: &|group, version, plural| served.find(group, version, plural),
            by_kind: &|group, version, kind| served.find_kind(group, version, kind),
        };
        let change = |old: &Value| Ok(type_checked(old, &kinds));
        match seeder.writer().update(&request, Target::Status, change).await {
            Err(status) if status.code != 404 => return Err(status),
            _ => {}
        }
    }
    Ok(())
}
