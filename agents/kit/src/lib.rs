//! `mainstay-agents-kit`: what every agent of the control plane is built from.
//!
//! An agent sees only the Kubernetes API, through a [`kube::Client`] that carries its own identity. The kit gives it
//! - [`informer`]: a local cache of one kind, kept by list and watch, shared per process through [`informer::Informers`];
//! - [`reconcile`]: the [`reconcile::Reconciler`] trait and [`reconcile::drive`], which runs it key by key;
//! - [`step`]: the stock API calls a pure `plan` may ask for, as data, and the actor that carries them out;
//! - [`leader`]: one of several processes runs the loops;
//! - [`servers`]: clients that move to another API server when theirs fails;
//! - [`events`]: the recorder of Kubernetes Events;
//! - [`owner`] and [`time`]: small vocabulary over object metadata.
//!
//! The kit knows no kind of its own and decides nothing: decisions are the agents' pure `plan` functions.

#![allow(clippy::missing_panics_doc, reason = "only tests panic")]

pub mod events;
pub mod informer;
mod key;
pub mod leader;
pub mod owner;
pub mod reconcile;
mod selector;
pub mod servers;
pub mod step;
pub mod time;

pub use key::ObjectKey;
pub use selector::selector_of;
