//! The step: charges quotas before a write, and keeps their usage true afterwards.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use mainstay_apiserver_kinds::{POD, RESOURCE_QUOTA};
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::pipeline::removes_object;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;
use tokio::sync::Mutex;

use super::check::{State, constraints, growth};
use super::scopes;
use super::usage::{concerns, usage};
use crate::admission::pod_amounts::{Amounts, add, amounts};
use crate::admission::step::{Step, Work, refuse};
use crate::cache::Cached;
use crate::registry::{Registry, Written};
use crate::types::{AdmissionRequest, Operation};

/// Namespaces share these locks, so that charges of one namespace come one after the other.
const LOCKS: usize = 64;
/// Rounds of a guarded update; each lost one means that somebody else wrote the quota.
const ROUNDS_MAX: usize = 20;
/// Marks a request that has been charged.
const CHARGED: &str = "resource-quota";

/// The step.
pub struct ResourceQuota {
    registry: Registry,
    locks: Vec<Mutex<()>>,
    hasher: RandomState,
    kinds: &'static [&'static Kind],
}

/// One quota of a namespace as the cache has it.
struct Quota {
    cached: Arc<Cached>,
    object: Value,
}

impl ResourceQuota {
    /// The step over the cluster's quotas; `kinds` are those that can be counted.
    pub fn new(registry: Registry, kinds: &'static [&'static Kind]) -> Self {
        let locks = std::iter::repeat_with(Mutex::default).take(LOCKS).collect();
        Self { registry, locks, hasher: RandomState::new(), kinds }
    }

    fn lock_of(&self, namespace: &str) -> Option<&Mutex<()>> {
        let hash = usize::try_from(self.hasher.hash_one(namespace) & 0xffff).unwrap_or_default();
        self.locks.get(hash % LOCKS)
    }

    fn has_quotas(&self, namespace: &str) -> Result<bool, Status> {
        Ok(self.registry.cache(&RESOURCE_QUOTA)?.snapshot().namespace(namespace).next().is_some())
    }

    /// The quotas of a namespace, no older than the call.
    async fn quotas(&self, namespace: &str) -> Result<Vec<Quota>, Status> {
        // Most namespaces have none, and then nothing has to be waited for.
        if !self.has_quotas(namespace)? {
            return Ok(Vec::new());
        }
        let fresh = self.registry.snapshot_fresh(&RESOURCE_QUOTA).await?;
        fresh
            .namespace(namespace)
            .map(|cached| {
                let object = self.registry.decode_served(&RESOURCE_QUOTA, cached)?;
                Ok(Quota { cached: Arc::clone(cached), object })
            })
            .collect()
    }

    async fn charge(&self, request: &AdmissionRequest) -> Result<(), Status> {
        let quotas = self.quotas(&request.namespace).await?;
        if quotas.is_empty() {
            return Ok(());
        }
        let Some(lock) = self.lock_of(&request.namespace) else { return Ok(()) };
        let _serial = lock.lock().await;
        let quotas = self.quotas(&request.namespace).await?;
        let mut charges = Vec::new();
        // All quotas are asked before the first is charged.
        for quota in quotas {
            if let Some((delta, used)) = decide(request, &quota).map_err(|why| refuse(request, why))? {
                charges.push((quota, delta, used));
            }
        }
        if request.dry_run || charges.is_empty() || !request.marks.set(CHARGED) {
            return Ok(());
        }
        for (quota, delta, used) in charges {
            self.write(quota, used, |state| state.charged(request.kind, &delta))
                .await?
                .map_err(|why| refuse(request, why))?;
        }
        Ok(())
    }

    /// Writes a usage; when somebody else wrote the quota meanwhile, the usage is made anew.
    async fn write(
        &self,
        mut quota: Quota,
        mut used: Amounts,
        again: impl Fn(&State) -> Result<Amounts, String>,
    ) -> Result<Result<(), String>, Status> {
        for _round in 0..ROUNDS_MAX {
            let mut object = quota.object.clone();
            set_used(&mut object, &used);
            let newer = match self.registry.replace(&RESOURCE_QUOTA, &quota.cached, object).await? {
                Written::Changed(Some(newer)) => newer,
                // A quota that is gone bounds nothing.
                Written::Stored(_) | Written::Changed(None) => return Ok(Ok(())),
            };
            let object = self.registry.decode_served(&RESOURCE_QUOTA, &newer)?;
            used = match again(&State::of(&newer.header.name, &object)) {
                Ok(used) => used,
                Err(why) => return Ok(Err(why)),
            };
            quota = Quota { cached: newer, object };
        }
        Err(Status::server_timeout("", "resourcequotas", "update", 1))
    }

    /// Gives back what a write that was not stored, or an object that went, had charged.
    async fn refund(&self, request: &AdmissionRequest, delta: Amounts, object: &Value) -> Result<(), Status> {
        let Some(lock) = self.lock_of(&request.namespace) else { return Ok(()) };
        let _serial = lock.lock().await;
        for quota in self.quotas(&request.namespace).await? {
            let counts = scopes::hold(&scopes::of_quota(&quota.object), request.kind, object);
            let state = State::of(&quota.cached.header.name, &quota.object);
            let used = state.refunded(&delta);
            if counts && used != state.used {
                self.write(quota, used, |state| Ok(state.refunded(&delta)))
                    .await?
                    .map_err(Status::internal)?;
            }
        }
        Ok(())
    }

    /// Counts everything that a quota bounds, and sets its status.
    async fn recount(&self, namespace: &str, name: &str) -> Result<(), Status> {
        let Some(lock) = self.lock_of(namespace) else { return Ok(()) };
        let _serial = lock.lock().await;
        self.registry.fresh().await?;
        for _round in 0..ROUNDS_MAX {
            let Some(cached) = self.registry.get(&RESOURCE_QUOTA, namespace, name) else { return Ok(()) };
            let object = self.registry.decode_served(&RESOURCE_QUOTA, &cached)?;
            let hard = amounts(&object, &["spec", "hard"]);
            let used = self.count(namespace, &object, &hard)?;
            let mut new = object.clone();
            if let Some(hard) = object.path(&["spec", "hard"]) {
                new.set_path(&["status", "hard"], hard);
            }
            set_used(&mut new, &used);
            if new == object {
                return Ok(());
            }
            if let Written::Stored(_) = self.registry.replace(&RESOURCE_QUOTA, &cached, new).await? {
                return Ok(());
            }
            self.registry.fresh().await?;
        }
        Err(Status::server_timeout("", "resourcequotas", "update", 1))
    }

    fn count(&self, namespace: &str, quota: &Value, hard: &Amounts) -> Result<Amounts, Status> {
        let scopes = scopes::of_quota(quota);
        let mut used: Amounts =
            hard.iter().map(|(name, amount)| (name.clone(), amount.minus(*amount))).collect();
        for kind in self.kinds.iter().filter(|kind| is_countable(kind)) {
            if !hard.keys().any(|name| concerns(kind, name)) {
                continue;
            }
            for cached in self.registry.cache(kind)?.snapshot().namespace(namespace) {
                let object = self.registry.decode_served(kind, cached)?;
                if scopes::hold(&scopes, kind, &object) {
                    let of_object = usage(kind, &object);
                    let bounded = of_object.into_iter().filter(|(name, _)| hard.contains_key(name));
                    add(&mut used, &bounded.collect());
                }
            }
        }
        Ok(used)
    }

    async fn settle(&self, request: &AdmissionRequest, stored: bool) -> Result<(), Status> {
        if *request.kind == RESOURCE_QUOTA {
            let writes = matches!(request.operation, Operation::Create | Operation::Update);
            let changed = request.old.as_ref().map(|old| old.get("spec")) != Some(request.object.get("spec"));
            if stored && writes && (changed || request.operation == Operation::Create) {
                self.recount(&request.namespace, &request.name).await?;
            }
        }
        let counts = !request.dry_run && !request.namespace.is_empty() && is_countable(request.kind);
        if !counts || !self.has_quotas(&request.namespace)? {
            return Ok(());
        }
        match request.operation {
            Operation::Create if !stored && request.marks.has(CHARGED) => {
                self.refund(request, usage(request.kind, &request.object), &request.object).await
            }
            Operation::Update if !stored && request.marks.has(CHARGED) => {
                let old = request.old.as_ref().map(|old| usage(request.kind, old)).unwrap_or_default();
                let delta = growth(&usage(request.kind, &request.object), &old);
                self.refund(request, delta, &request.object).await
            }
            // What shrinks, such as a pod that has ended, is given back at once; so is an object that only its
            // finalizers had kept.
            Operation::Update if stored => {
                let Some(old) = &request.old else { return Ok(()) };
                if removes_object(request.kind, &request.object) {
                    return self.refund(request, usage(request.kind, old), old).await;
                }
                let delta = growth(&usage(request.kind, old), &usage(request.kind, &request.object));
                if delta.is_empty() { Ok(()) } else { self.refund(request, delta, old).await }
            }
            Operation::Delete if stored => {
                let Some(old) = &request.old else { return Ok(()) };
                self.refund(request, usage(request.kind, old), old).await
            }
            _ => Ok(()),
        }
    }
}

/// Kinds whose objects can be counted: stored ones in namespaces, but not events.
fn is_countable(kind: &Kind) -> bool {
    kind.namespaced
        && kind.is_stored()
        && kind.plural != "events"
        && kind.storage.as_ref().is_some_and(|s| s.stored_as.is_none())
}

/// What a write adds to a quota and the usage afterwards; none when the quota does not count it.
fn decide(request: &AdmissionRequest, quota: &Quota) -> Result<Option<(Amounts, Amounts)>, String> {
    let kind = request.kind;
    if !scopes::hold(&scopes::of_quota(&quota.object), kind, &request.object) {
        return Ok(None);
    }
    let state = State::of(&quota.cached.header.name, &quota.object);
    let bounds = state.bounds(kind);
    if bounds.is_empty() {
        return Ok(None);
    }
    if *kind == POD {
        constraints(&request.object, &bounds)
            .map_err(|why| format!("failed quota: {}: {why}", state.name))?;
    }
    let old = match &request.old {
        Some(old) if scopes::hold(&scopes::of_quota(&quota.object), kind, old) => usage(kind, old),
        _ => Amounts::new(),
    };
    let delta = growth(&usage(kind, &request.object), &old);
    if !delta.keys().any(|name| state.hard.contains_key(name)) {
        return Ok(None);
    }
    let used = state.charged(kind, &delta)?;
    Ok(Some((delta, used)))
}

fn set_used(quota: &mut Value, used: &Amounts) {
    let used: mainstay_apiserver_machinery::value::Map =
        used.iter().map(|(name, amount)| (name.clone(), Value::Str(amount.text()))).collect();
    quota.set_path(&["status", "used"], used);
}

impl Step for ResourceQuota {
    fn validate<'a>(&'a self, request: &'a AdmissionRequest) -> Work<'a, Result<(), Status>> {
        let grows = match request.operation {
            Operation::Create => request.subresource.is_empty(),
            Operation::Update => {
                matches!(request.subresource.as_str(), "" | "resize")
                    && (request.subresource == "resize"
                        || matches!(request.kind.plural, "services" | "persistentvolumeclaims"))
            }
            Operation::Delete | Operation::Connect => false,
        };
        let counts = grows && !request.namespace.is_empty() && is_countable(request.kind);
        if !counts || self.has_quotas(&request.namespace).is_ok_and(|has| !has) {
            return None;
        }
        Some(Box::pin(self.charge(request)))
    }

    fn settled<'a>(&'a self, request: &'a AdmissionRequest, stored: bool) -> Work<'a, ()> {
        // What is wrong with the quotas is told by the work itself.
        let without = self.has_quotas(&request.namespace).is_ok_and(|has| !has);
        if *request.kind != RESOURCE_QUOTA && (request.namespace.is_empty() || without) {
            return None;
        }
        Some(Box::pin(async move {
            if let Err(error) = self.settle(request, stored).await {
                tracing::warn!(namespace = %request.namespace, %error, "a quota's usage could not be corrected");
            }
        }))
    }
}
