//! Counts of what the store does, kept while it does it: relaxed atomic additions, no locks and no allocation on any path that requests take.
//!
//! Nothing here decides anything. [`Store::figures`](crate::Store::figures) reads them.
mod histogram;
mod meters;
mod traffic;

pub(crate) use histogram::Histogram;
pub(crate) use meters::{Meters, Written};
pub(crate) use traffic::Traffic;
