//! The deployment controller: moves from one pod template to the next by scaling replica sets.
//!
//! `plan` looks at one deployment and its replica sets and decides in upstream's order: adopt, note a pause, follow a change
//! of scale in proportion, else roll out by the strategy; the status is computed from what is there now.

mod annotations;
mod plan;
mod progress;
mod reconciler;
mod recreate;
mod rolling;
mod scaling;
mod status;
mod strategy;
mod template;
mod world;

pub(crate) use reconciler::DeploymentController;
#[cfg(test)]
pub(crate) use {plan::plan, world::World};
