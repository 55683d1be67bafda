//! `PersistentVolumeClaimResize`: a claim grows only once it is bound, and where its class says that it can.

use mainstay_apiserver_kinds::{PERSISTENT_VOLUME_CLAIM, STORAGE_CLASS};
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::{Quantity, Status};

use super::step::{Step, Work, refuse};
use crate::registry::Registry;
use crate::types::{AdmissionRequest, Operation};

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// The step.
pub struct ClaimResize {
    registry: Registry,
}

impl ClaimResize {
    /// The step over the cluster's storage classes.
    pub fn new(registry: Registry) -> Self {
        Self { registry }
    }

    async fn check_growth(&self, request: &AdmissionRequest) -> Result<(), Status> {
        let Some(old) = &request.old else { return Ok(()) };
        if size(&request.object) <= size(old) {
            return Ok(());
        }
        if old.path_str(&["status", "phase"]) != Some("Bound") {
            return Err(refuse(request, "Only bound persistent volume claims can be expanded"));
        }
        let class = class_of(&request.object);
        let allows = if class.is_empty() || class != class_of(old) {
            false
        } else {
            match self.registry.get_fresh(&STORAGE_CLASS, "", class).await? {
                Some(found) => {
                    let class = self.registry.decode_served(&STORAGE_CLASS, &found)?;
                    class.path_bool(&["allowVolumeExpansion"]) == Some(true)
                }
                None => false,
            }
        };
        if allows {
            return Ok(());
        }
        Err(refuse(
            request,
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
        ))
    }
}

fn size(claim: &Value) -> Quantity {
    let text = claim.path_str(&["spec", "resources", "requests", "storage"]).unwrap_or_default();
    text.parse().unwrap_or_default()
}

fn class_of(claim: &Value) -> &str {
    let annotation = Meta(claim).annotation(CLASS_ANNOTATION);
    annotation.or_else(|| claim.path_str(&["spec", "storageClassName"])).unwrap_or_default()
}

impl Step for ClaimResize {
    fn validate<'a>(&'a self, request: &'a AdmissionRequest) -> Work<'a, Result<(), Status>> {
        let updates = request.operation == Operation::Update && request.subresource.is_empty();
        if *request.kind == PERSISTENT_VOLUME_CLAIM && updates {
            return Some(Box::pin(self.check_growth(request)));
        }
        None
    }
}
