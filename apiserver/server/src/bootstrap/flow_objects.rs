//! The objects of API Priority and Fairness: those that every cluster has are there, the suggested ones are kept as this
//! version of the server suggests them unless an administrator says otherwise, and each schema's status says whether its
//! level exists. Which request gets a seat is decided in `flow/`.

use std::collections::BTreeSet;
use std::sync::Arc;

use mainstay_apiserver_extensions::crd::{Condition, condition, set_condition};
use mainstay_apiserver_kinds::{
    FLOW_SCHEMA, PRIORITY_LEVEL_CONFIGURATION, bootstrap_flow_schemas, bootstrap_priority_levels,
};
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::pipeline::{self, Target};
use mainstay_apiserver_machinery::value::Value;
use mainstay_base::lifecycle::Clock;
use mainstay_proto_api::Status;
use smol_str::SmolStr;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::seed::Seeder;
use crate::handlers::FieldOwner;

/// Says that the server keeps an object's spec.
const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";
/// Objects whose specs are fixed: validation keeps them.
const MANDATORY: [&str; 2] = ["exempt", "catch-all"];
/// The manager under which statuses are written, as upstream.
const CONSUMER: &str = "api-priority-and-fairness-config-consumer-v1";

/// Keeps the objects.
pub struct FlowObjects {
    seeder: Seeder,
    clock: Arc<dyn Clock>,
}

impl FlowObjects {
    /// A keeper that writes by `seeder`.
    pub fn new(seeder: Seeder, clock: Arc<dyn Clock>) -> Self {
        Self { seeder, clock }
    }

    /// Makes what is missing and brings the suggested objects up to date.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn ensure(&self) -> Result<(), Status> {
        let levels = bootstrap_priority_levels();
        let schemas = bootstrap_flow_schemas();
        // At once, so that the store can write them with one sync.
        let levels = levels.iter().map(|object| self.ensure_one(&PRIORITY_LEVEL_CONFIGURATION, object));
        let schemas = schemas.iter().map(|object| self.ensure_one(&FLOW_SCHEMA, object));
        futures::future::try_join_all(levels).await?;
        futures::future::try_join_all(schemas).await?;
        Ok(())
    }

    async fn ensure_one(&self, kind: &'static Kind, suggested: &Value) -> Result<(), Status> {
        let name = Meta(suggested).name();
        if self.seeder.ensure(kind, suggested).await? || MANDATORY.contains(&name) {
            return Ok(());
        }
        let Some(cached) = self.seeder.registry().get_fresh(kind, "", name).await? else { return Ok(()) };
        if brought_up(&self.seeder.registry().decode_served(kind, &cached)?, suggested).is_none() {
            return Ok(());
        }
        let request = Seeder::request(kind, "", name);
        let change = |old: &Value| Ok(brought_up(old, suggested).unwrap_or_else(|| old.clone()));
        match self.seeder.writer().update(&request, Target::Object, change).await {
            Err(status) if status.code != 404 => Err(status),
            _ => Ok(()),
        }
    }

    /// Keeps objects and statuses until `stop`.
    ///
    /// # Errors
    /// Kinds that are not stored.
    pub async fn keep(self, stop: CancellationToken) -> Result<(), Status> {
        let mut schemas = self.seeder.registry().changes(&FLOW_SCHEMA)?;
        let mut levels = self.seeder.registry().changes(&PRIORITY_LEVEL_CONFIGURATION)?;
        loop {
            schemas.borrow_and_update();
            levels.borrow_and_update();
            let kept = async {
                self.ensure().await?;
                self.tell_dangling().await
            };
            // What is dropped half-way is done at the next start.
            let kept = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                kept = kept => kept,
            };
            if let Err(error) = kept {
                warn!(error = %error.message, "an object of flow control is not brought up to date");
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                end = schemas.changed() => if end.is_err() { return Ok(()) },
                end = levels.changed() => if end.is_err() { return Ok(()) },
            }
        }
    }

    /// Writes into each schema's status whether its level exists.
    async fn tell_dangling(&self) -> Result<(), Status> {
        let registry = self.seeder.registry();
        let levels = registry.snapshot_fresh(&PRIORITY_LEVEL_CONFIGURATION).await?;
        let levels: BTreeSet<SmolStr> = levels.iter().map(|level| level.header.name.clone()).collect();
        for cached in registry.snapshot_fresh(&FLOW_SCHEMA).await?.iter() {
            let schema = registry.decode_served(&FLOW_SCHEMA, cached)?;
            let now = self.clock.wall();
            if with_condition(&schema, &levels, now).is_none() {
                continue;
            }
            let mut request = Seeder::request(&FLOW_SCHEMA, "", &cached.header.name);
            request.owner = FieldOwner::Manager(CONSUMER.into());
            let change = |old: &Value| Ok(with_condition(old, &levels, now).unwrap_or_else(|| old.clone()));
            match self.seeder.writer().update(&request, Target::Status, change).await {
                Err(status) if status.code != 404 => return Err(status),
                _ => {}
            }
        }
        Ok(())
    }
}

/// A suggested object as it should be, `None` where it is so or where an administrator keeps it. Pure.
fn brought_up(stored: &Value, suggested: &Value) -> Option<Value> {
    let by_server = match stored.path(&["metadata", "annotations"]).and_then(|all| all.get(AUTO_UPDATE)) {
        Some(said) => said.as_str() == Some("true"),
        // Nobody changed it since an older server made it.
        None => stored.path(&["metadata", "generation"]) == Some(&Value::Int(1)),
    };
    if !by_server {
        return None;
    }
    let mut wanted = stored.clone();
    let annotations = wanted.make_map().get_or_insert_map("metadata").get_or_insert_map("annotations");
    annotations.insert(AUTO_UPDATE, "true");
    wanted.make_map().insert("spec", suggested.get("spec").cloned().unwrap_or_default());
    (!pipeline::is_unchanged(&wanted, stored)).then_some(wanted)
}

/// A schema whose status says whether its level is among `levels`, `None` where it says so. Pure.
fn with_condition(schema: &Value, levels: &BTreeSet<SmolStr>, now: OffsetDateTime) -> Option<Value> {
    let level = schema.path_str(&["spec", "priorityLevelConfiguration", "name"]).unwrap_or_default();
    let is_there = levels.contains(level);
    let (status, reason, end) = if is_there {
        ("False", "Found", "and it exists")
    } else {
        ("True", "NotFound", "but there is no such object")
    };
    let message =
        format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?} {end}");
    let says = |field: &str| condition(schema, "Dangling").and_then(|found| found.path_str(&[field]));
    if says("status") == Some(status) && says("reason") == Some(reason) && says("message") == Some(&message) {
        return None;
    }
    let mut out = schema.clone();
    set_condition(&mut out, &Condition { condition_type: "Dangling", status, reason, message }, now);
    Some(out)
}

#[cfg(test)]
mod tests {
    use mainstay_apiserver_machinery::value;

    use super::*;

    #[test]
    fn a_suggested_object_is_kept_unless_an_administrator_keeps_it() {
        let suggested = value!({"spec": {"matchingPrecedence": 5}});
        let stored = |annotation: &str, generation: i64| {
            let mut object =
                value!({"metadata": {"generation": generation}, "spec": {"matchingPrecedence": 7}});
            if !annotation.is_empty() {
                let meta = object.make_map().get_or_insert_map("metadata");
                meta.get_or_insert_map("annotations").insert(AUTO_UPDATE, annotation);
            }
            object
        };
        for (annotation, generation, changes) in
            [("true", 3, true), ("false", 1, false), ("", 1, true), ("", 2, false)]
        {
            let out = brought_up(&stored(annotation, generation), &suggested);
            assert_eq!(out.is_some(), changes, "{annotation} {generation}");
            if let Some(out) = out {
                assert_eq!(out.path(&["spec", "matchingPrecedence"]), Some(&Value::Int(5)));
                assert!(brought_up(&out, &suggested).is_none(), "it settles");
            }
        }
    }
}
