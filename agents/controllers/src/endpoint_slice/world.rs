//! What a decision about one service's slices depends on.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

pub(crate) struct World {
    pub(super) service: Arc<Service>,
    /// The pods that the service selects.
    pub(super) pods: Vec<Arc<Pod>>,
    /// The slices of the service that this controller manages.
    pub(super) slices: Vec<Arc<EndpointSlice>>,
    /// Node name to zone.
    pub(super) zones: BTreeMap<String, String>,
}
