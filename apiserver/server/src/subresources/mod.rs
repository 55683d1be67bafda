//! Subresources that do something with other objects: binding and eviction of pods, tokens of service accounts.

pub mod binding;
mod condition;
mod disruption;
pub mod eviction;
pub mod token;

pub use binding::PodBinding;
pub use eviction::PodEviction;
pub use token::TokenRequests;
