//! Claims that a pod's volumes need. Persistent volume claims and resource claims are not served by this cluster's API
//! yet, so a pod that needs one waits and says so.

use crate::events::ClusterEvent;
use crate::framework::{Filter, PreFilter};
use crate::state::{PodInfo, Snapshot};

pub(super) struct VolumeBinding;

impl Filter for VolumeBinding {
    fn name(&self) -> &'static str {
        "VolumeBinding"
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodInfo, _snapshot: &'a Snapshot) -> PreFilter<'a> {
        let Some(spec) = pod.spec() else { return PreFilter::Skip };
        for volume in spec.volumes.iter().flatten() {
            if let Some(claim) = &volume.persistent_volume_claim {
                return PreFilter::Reject(format!(
                    "persistentvolumeclaim \"{}\" not found",
                    claim.claim_name
                ));
            }
            if volume.ephemeral.is_some() {
                return PreFilter::Reject(format!(
                    "waiting for ephemeral volume controller to create the persistentvolumeclaim \"{}-{}\"",
                    pod.key.name, volume.name
                ));
            }
        }
        if let Some(claim) = spec.resource_claims.iter().flatten().next() {
            return PreFilter::Reject(format!(
                "resource claim \"{}\" cannot be met: this cluster does not allocate devices",
                claim.name
            ));
        }
        PreFilter::Skip
    }

    fn helped_by(&self) -> &'static [ClusterEvent] {
        &[]
    }
}
