//! Pure translation of API objects into what the runtime is asked for. No IO, no clock, no randomness.

pub(crate) mod container;
pub(crate) mod containers;
pub(crate) mod dns;
pub(crate) mod downward;
pub(crate) mod env;
pub(crate) mod expand;
#[cfg(test)]
mod golden;
pub(crate) mod hosts;
pub(crate) mod image;
pub(crate) mod quantity;
pub(crate) mod references;
pub(crate) mod resources;
pub(crate) mod sandbox;
pub(crate) mod security;
pub(crate) mod service_env;
