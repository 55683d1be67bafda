//! Kinds of resource.k8s.io/v1: devices and claims to them.

mod bindings;
mod claim;
mod claim_spec;
mod claim_status;
mod class;
mod device;
mod list;
mod request_policy;
mod selector;
mod slice;
mod taint;

pub use claim::{RESOURCE_CLAIM, RESOURCE_CLAIM_TEMPLATE};
pub use class::DEVICE_CLASS;
pub use slice::RESOURCE_SLICE;
pub use taint::DEVICE_TAINT_RULE;
