//! The `ConfigMap`s and Secrets one pod refers to, leased for the pod's life.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};

use crate::sources::{Lease, ObjectSources, SyncError};
use crate::spec::references::references;

/// A pod's leases.
#[derive(Default)]
pub(crate) struct PodLeases {
    config_maps: BTreeMap<String, Arc<Lease<ConfigMap>>>,
    secrets: BTreeMap<String, Arc<Lease<Secret>>>,
}

/// The leased objects that exist.
#[derive(Debug, Clone, Default)]
pub(crate) struct Leased {
    pub config_maps: BTreeMap<String, Arc<ConfigMap>>,
    pub secrets: BTreeMap<String, Arc<Secret>>,
}

impl Leased {
    /// Changes whenever an object does.
    pub(crate) fn fingerprint(&self) -> Vec<(String, String)> {
        let version = |meta: &kube::core::ObjectMeta| meta.resource_version.clone().unwrap_or_default();
        let maps = self.config_maps.iter().map(|(n, o)| (format!("configmap/{n}"), version(&o.metadata)));
        let secrets = self.secrets.iter().map(|(n, o)| (format!("secret/{n}"), version(&o.metadata)));
        maps.chain(secrets).collect()
    }
}

impl PodLeases {
    /// Leases everything `pod` refers to.
    pub(crate) fn of(sources: &ObjectSources, pod: &Pod) -> Self {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let wanted = references(pod);
        Self {
            config_maps: wanted
                .config_maps
                .into_iter()
                .map(|name| (name.clone(), sources.config_maps.lease(namespace, &name)))
                .collect(),
            secrets: wanted
                .secrets
                .into_iter()
                .map(|name| (name.clone(), sources.secrets.lease(namespace, &name)))
                .collect(),
        }
    }

    /// The objects as far as they are known.
    pub(crate) fn peek(&self) -> Leased {
        Leased {
            config_maps: self.config_maps.iter().filter_map(|(n, l)| Some((n.clone(), l.peek()?))).collect(),
            secrets: self.secrets.iter().filter_map(|(n, l)| Some((n.clone(), l.peek()?))).collect(),
        }
    }

    /// The objects as of now; waits for the first look at each.
    pub(crate) async fn get(&self) -> Result<Leased, SyncError> {
        let mut leased = Leased::default();
        for (name, lease) in &self.config_maps {
            leased.config_maps.extend(lease.get().await?.map(|object| (name.clone(), object)));
        }
        for (name, lease) in &self.secrets {
            leased.secrets.extend(lease.get().await?.map(|object| (name.clone(), object)));
        }
        Ok(leased)
    }
}
