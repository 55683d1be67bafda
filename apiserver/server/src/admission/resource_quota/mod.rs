//! `ResourceQuota`: what a namespace may use in all. Deciding is pure: [`usage`] says what an object uses, [`scopes`]
//! which quotas count it, [`check`] whether it still fits. The step charges a quota by a guarded update of its status
//! before the object is stored, gives back what was not stored or goes away, and counts anew when a quota changes.

mod check;
mod scopes;
mod step;
mod usage;

pub use step::ResourceQuota;
