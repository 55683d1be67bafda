//! Which resources the API server has.

use kube::api::ApiResource;
use kube::core::discovery::v2::{APIGroupDiscovery, APIGroupDiscoveryList};

/// A resource of the API in its group's preferred version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Discovered {
    pub(crate) resource: ApiResource,
    pub(crate) namespaced: bool,
    pub(crate) verbs: Vec<String>,
}

impl Discovered {
    pub(crate) fn has(&self, verbs: &[&str]) -> bool {
        verbs.iter().all(|verb| self.verbs.iter().any(|have| have == verb))
    }

    /// Whether this is one of the two faces of Events, which are neither owned nor worth watching.
    pub(crate) fn is_events(&self) -> bool {
        self.resource.plural == "events"
    }
}

/// All resources, each group in its preferred version.
pub(crate) async fn discover(client: &kube::Client) -> Result<Vec<Discovered>, kube::Error> {
    let core = client.list_core_api_versions_aggregated().await?;
    let groups = client.list_api_groups_aggregated().await?;
    Ok(resources_of(&core).chain(resources_of(&groups)).collect())
}

fn resources_of(list: &APIGroupDiscoveryList) -> impl Iterator<Item = Discovered> {
    list.items.iter().flat_map(of_group)
}

fn of_group(group: &APIGroupDiscovery) -> Vec<Discovered> {
    let name = group.metadata.as_ref().and_then(|meta| meta.name.clone()).unwrap_or_default();
    let Some(preferred) = group.versions.first() else { return Vec::new() };
    let version = preferred.version.clone().unwrap_or_default();
    let api_version = if name.is_empty() { version.clone() } else { format!("{name}/{version}") };
    preferred
        .resources
        .iter()
        .filter_map(|resource| {
            let kind = resource.response_kind.as_ref()?.kind.clone()?;
            Some(Discovered {
                resource: ApiResource {
                    group: name.clone(),
                    version: version.clone(),
                    api_version: api_version.clone(),
                    kind,
                    plural: resource.resource.clone()?,
                },
                namespaced: resource.scope.as_deref() == Some("Namespaced"),
                verbs: resource.verbs.clone(),
            })
        })
        .collect()
}
