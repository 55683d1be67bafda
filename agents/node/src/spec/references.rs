//! Which `ConfigMap`s and Secrets a pod refers to.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Pod, Volume};

use super::containers;

/// Names in the pod's namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct References {
    pub config_maps: BTreeSet<String>,
    pub secrets: BTreeSet<String>,
}

/// Everything the pod's environment, volumes and pull secrets name.
pub(crate) fn references(pod: &Pod) -> References {
    let mut found = References::default();
    let Some(spec) = &pod.spec else { return found };
    for volume in spec.volumes.iter().flatten() {
        of_volume(volume, &mut found);
    }
    for declared in containers::all(pod) {
        for from in declared.container.env_from.iter().flatten() {
            found.config_maps.extend(from.config_map_ref.iter().map(|r| r.name.clone()));
            found.secrets.extend(from.secret_ref.iter().map(|r| r.name.clone()));
        }
        for source in declared.container.env.iter().flatten().filter_map(|v| v.value_from.as_ref()) {
            found.config_maps.extend(source.config_map_key_ref.iter().map(|r| r.name.clone()));
            found.secrets.extend(source.secret_key_ref.iter().map(|r| r.name.clone()));
        }
    }
    found.secrets.extend(spec.image_pull_secrets.iter().flatten().map(|r| r.name.clone()));
    found.config_maps.remove("");
    found.secrets.remove("");
    found
}

fn of_volume(volume: &Volume, found: &mut References) {
    found.config_maps.extend(volume.config_map.iter().map(|c| c.name.clone()));
    found.secrets.extend(volume.secret.iter().filter_map(|s| s.secret_name.clone()));
    let projected = volume.projected.iter().flat_map(|p| p.sources.iter().flatten());
    for source in projected {
        found.config_maps.extend(source.config_map.iter().map(|c| c.name.clone()));
        found.secrets.extend(source.secret.iter().map(|s| s.name.clone()));
    }
}
