//! HorizontalPodAutoscaler, served as autoscaling/v1 and v2 and stored as v2.

mod annotations;
mod behavior;
mod legacy_metrics;
mod metrics;
mod reference;
mod targets;
mod v1;
mod v2;

pub use v1::HORIZONTAL_POD_AUTOSCALER_V1;
pub use v2::HORIZONTAL_POD_AUTOSCALER;
