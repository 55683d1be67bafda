//! Kinds of resource.k8s.io/v1: devices and claims to them. That selectors compile is for those to say who run them.

mod claim;
mod claim_spec;
mod claim_status;
mod class;
mod device;
mod list;
mod slice;
mod taint;

pub use claim::{RESOURCE_CLAIM, RESOURCE_CLAIM_TEMPLATE};
pub use class::DEVICE_CLASS;
pub use slice::RESOURCE_SLICE;
pub use taint::DEVICE_TAINT_RULE;
