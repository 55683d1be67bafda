//! What a controller states.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::watch::Watch;
use crate::ObjectKey;
use crate::step::{ActError, Step};

/// When a key wants to run again without any change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Not before something changes.
    Done,
    /// After this long, for conditions that come true by time alone.
    After(Duration),
}

impl Next {
    /// The earlier of two wishes.
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        match (self, other) {
            (Self::Done, next) | (next, Self::Done) => next,
            (Self::After(a), Self::After(b)) => Self::After(a.min(b)),
        }
    }
}

/// The world around a key could not be read; the key runs again after a delay.
#[derive(Debug)]
pub struct ObserveError {
    /// What was read.
    pub what: String,
    /// Why it failed.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl ObserveError {
    /// An error with its cause.
    pub fn new(what: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { what: what.into(), source: source.into() }
    }
}

impl fmt::Display for ObserveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reading {}", self.what)
    }
}

impl std::error::Error for ObserveError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.source.as_ref())
    }
}

/// A controller: which changes concern which keys, what the world around a key is, and what to do about it.
pub trait Reconciler: Send + Sync + 'static {
    /// Everything a decision depends on, including the time.
    type World: Send + Sync + 'static;

    /// The controller's name, for logs.
    fn name(&self) -> &'static str;

    /// The caches whose changes make keys run.
    fn watches(&self) -> Vec<Watch>;

    /// Reads the world around `key`, from caches where possible. `None` when there is nothing to decide.
    fn observe(
        &self,
        key: &ObjectKey,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<Self::World>, ObserveError>> + Send;

    /// Decides. Pure: no IO, no clock, no randomness.
    fn plan(&self, world: &Self::World) -> (Vec<Step>, Next);

    /// What to record after a step of the plan failed. Pure; its own failures are only logged.
    fn failed(&self, _world: &Self::World, _error: &ActError) -> Vec<Step> {
        Vec::new()
    }
}
