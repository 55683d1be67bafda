//! `StorageObjectInUseProtection`: volumes and claims stay while they are used. Each gets a finalizer that the protection
//! controllers take away.

use mainstay_apiserver_kinds::{PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM};
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;

use super::step::{Step, Work};
use crate::types::{AdmissionRequest, Operation};

/// The step.
#[derive(Debug)]
pub struct StorageProtection;

impl Step for StorageProtection {
    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest) -> Work<'a, Result<(), Status>> {
        let finalizer = if *request.kind == PERSISTENT_VOLUME {
            "kubernetes.io/pv-protection"
        } else if *request.kind == PERSISTENT_VOLUME_CLAIM {
            "kubernetes.io/pvc-protection"
        } else {
            return None;
        };
        let is_new = request.operation == Operation::Create && request.subresource.is_empty();
        if is_new && !Meta(&request.object).has_finalizer(finalizer) {
            let metadata = request.object.make_map().get_or_insert_map("metadata");
            metadata.get_or_insert_list("finalizers").push(Value::from(finalizer));
        }
        None
    }
}
