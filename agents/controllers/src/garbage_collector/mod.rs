//! The garbage collector: deletes what lost its last owner, holds foreground deletions until their dependents are gone,
//! and sets orphans free.
//!
//! There is no graph of its own to keep true: the metadata caches of all resources, indexed by uid and by owner, are the
//! graph. A key is the uid of an object to look at. That an owner is gone is believed only after the API server said so.

mod caches;
mod owners;
mod plan;
mod reconciler;
mod world;

pub(crate) use reconciler::start;
