//! The replica set controller: keeps the asked number of pods of one template.

mod plan;
mod rank;
mod reconciler;
mod status;
mod world;

pub(crate) use reconciler::ReplicaSetController;
#[cfg(test)]
pub(crate) use {plan::plan, world::World};
