//! The loop over definitions: given the name of one, it brings what is served, and its status, to what it says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use mainstay_apiserver_extensions::crd::{
    CLEANUP_FINALIZER, CUSTOM_RESOURCE_DEFINITION, Condition, accept_names, approval_condition, condition,
    is_true, remove_condition, set_condition, structure_condition,
};
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::value::Value;
use mainstay_base::lifecycle::Clock;
use mainstay_proto_api::Status;
use smol_str::SmolStr;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::cleanup::{delete_objects, settle};
use super::published::{PublishError, Published};
use crate::bootstrap::seed::Seeder;
use crate::cache::{ChangeKind, Cursor, CursorEnd, Event};

/// Serves what definitions define.
pub struct CustomKinds {
    seeder: Seeder,
    clock: Arc<dyn Clock>,
    /// The definitions as the cache has shown them, decoded.
    known: BTreeMap<SmolStr, Value>,
    published: Published,
    /// Definitions that wait for objects to go, each until something of its objects changes.
    waiting: FuturesUnordered<BoxFuture<'static, SmolStr>>,
    cursor: Option<Cursor>,
}

impl CustomKinds {
    /// The loop's state; nothing is served yet.
    pub fn new(seeder: Seeder, clock: Arc<dyn Clock>) -> Self {
        let published = Published::new(seeder.registry().clone());
        Self {
            seeder,
            clock,
            known: BTreeMap::new(),
            published,
            waiting: FuturesUnordered::new(),
            cursor: None,
        }
    }

    /// Serves every stored definition. Comes before the first request.
    ///
    /// # Errors
    /// 500 for definitions that cannot be decoded.
    pub async fn load(&mut self) -> Result<(), Status> {
        let (snapshot, cursor) =
            self.seeder.registry().cache(&CUSTOM_RESOURCE_DEFINITION)?.snapshot_and_cursor();
        self.cursor = Some(cursor);
        self.known.clear();
        for cached in snapshot.iter() {
            let crd = self.seeder.registry().decode_served(&CUSTOM_RESOURCE_DEFINITION, cached)?;
            self.known.insert(cached.header.name.clone(), crd);
        }
        let gone = self.published.others(|name| self.known.contains_key(name));
        let names: BTreeSet<SmolStr> = self.known.keys().cloned().chain(gone).collect();
        self.reconcile_all(names).await;
        Ok(())
    }

    /// Follows the definitions until `stop`. After [`CustomKinds::load`].
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let Some(cursor) = &mut self.cursor else { return };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                events = cursor.next() => match events {
                    Ok(events) => {
                        let names = self.take(&events);
                        self.reconcile_all(names).await;
                    }
                    Err(CursorEnd::Lagged) => {
                        warn!("the loop over definitions fell behind and reads all of them");
                        if let Err(status) = self.load().await {
                            error!(error = %status.message, "definitions cannot be read");
                        }
                    }
                    Err(CursorEnd::Closed) => return,
                },
                // A wait that is dropped with the loop held nothing.
                Some(name) = self.waiting.next(), if !self.waiting.is_empty() => {
                    self.reconcile_all(BTreeSet::from([name])).await;
                }
            }
        }
    }

    /// Takes in what changed; answers the names.
    fn take(&mut self, events: &[Arc<Event>]) -> BTreeSet<SmolStr> {
        let mut names = BTreeSet::new();
        for event in events {
            let name = &event.object.header.name;
            names.insert(name.clone());
            if event.change == ChangeKind::Deleted {
                self.known.remove(name);
                continue;
            }
            match event.object.decode() {
                Ok(crd) => drop(self.known.insert(name.clone(), crd)),
                Err(error) => error!(%error, "a definition cannot be read and is not served anew"),
            }
        }
        names
    }

    async fn reconcile_all(&mut self, mut names: BTreeSet<SmolStr>) {
        // A definition that goes, or gives up a name, may free what another waits for.
        let groups: BTreeSet<SmolStr> = names.iter().map(|name| group_of(name).into()).collect();
        names.extend(
            self.known
                .iter()
                .filter(|(name, crd)| groups.contains(group_of(name)) && !is_true(crd, "NamesAccepted"))
                .map(|(name, _)| name.clone()),
        );
        for name in names {
            if let Err(status) = self.reconcile(&name).await {
                warn!(definition = %name, error = %status.message, "a definition is not brought up to date");
            }
        }
    }

    async fn reconcile(&mut self, name: &SmolStr) -> Result<(), Status> {
        let Some(crd) = self.known.get(name).cloned() else {
            self.published.remove(name).await;
            return Ok(());
        };
        let crd = self.bring_status(name, crd).await?;
        if is_true(&crd, "NamesAccepted") || is_true(&crd, "Established") {
            match self.published.put(name, &crd).await {
                Ok(()) => self.establish(name, &crd).await?,
                Err(PublishError::Stopping) => return Ok(()),
                Err(why) => {
                    error!(definition = %name, error = %why, "a definition cannot be served");
                    self.refuse(name, &why.to_string()).await?;
                }
            }
        }
        if Meta(&crd).is_deleting() && Meta(&crd).has_finalizer(CLEANUP_FINALIZER) {
            return self.clean_up(name).await;
        }
        Ok(())
    }

    /// Stores what follows from the definition alone and from the names of others. Answers the definition as stored.
    async fn bring_status(&mut self, name: &SmolStr, crd: Value) -> Result<Value, Status> {
        let now = self.clock.wall();
        let others: Vec<&Value> = self.known.values().collect();
        let wanted = |crd: &Value| {
            let mut out = accept_names(crd, &others, now);
            match structure_condition(&out) {
                Some(condition) => set_condition(&mut out, &condition, now),
                None => remove_condition(&mut out, "NonStructuralSchema"),
            }
            if let Some(condition) = approval_condition(&out) {
                set_condition(&mut out, &condition, now);
            }
            out
        };
        if wanted(&crd) == crd {
            return Ok(crd);
        }
        let stored = self
            .seeder
            .registry()
            .update_with(&CUSTOM_RESOURCE_DEFINITION, "", name, |crd| {
                let out = wanted(&crd);
                Ok((out != crd).then_some(out))
            })
            .await?;
        self.known.insert(name.clone(), stored.object.clone());
        Ok(stored.object)
    }

    /// Says that the definition is served, once it is.
    async fn establish(&mut self, name: &str, crd: &Value) -> Result<(), Status> {
        if is_true(crd, "Established") || Meta(crd).is_deleting() {
            return Ok(());
        }
        let message = "the initial names have been accepted".to_owned();
        self.set(
            name,
            Condition {
                condition_type: "Established",
                status: "True",
                reason: "InitialNamesAccepted",
                message,
            },
        )
        .await
    }

    async fn refuse(&mut self, name: &str, why: &str) -> Result<(), Status> {
        let message = why.to_owned();
        let wanted =
            Condition { condition_type: "Established", status: "False", reason: "NotServed", message };
        self.set(name, wanted).await
    }

    // Takes `&mut self` as all steps do: the waits are not to be shared between threads.
    async fn set(&mut self, name: &str, wanted: Condition) -> Result<(), Status> {
        let now = self.clock.wall();
        let change = |mut crd: Value| {
            let same = condition(&crd, wanted.condition_type).is_some_and(|old| {
                old.path_str(&["status"]) == Some(wanted.status)
                    && old.path_str(&["message"]) == Some(wanted.message.as_str())
            });
            set_condition(&mut crd, &wanted, now);
            Ok((!same).then_some(crd))
        };
        self.seeder.registry().update_with(&CUSTOM_RESOURCE_DEFINITION, "", name, change).await.map(drop)
    }

    async fn clean_up(&mut self, name: &SmolStr) -> Result<(), Status> {
        let now = self.clock.wall();
        let Some(kind) = self.published.close(name) else {
            return settle(&self.seeder, name, None, now).await;
        };
        // Taken before the objects are looked at: what changes afterwards wakes the wait.
        let mut changes = self.seeder.registry().changes(kind)?;
        let left = delete_objects(&self.seeder, kind).await?;
        if left > 0 {
            let name = name.clone();
            self.waiting.push(Box::pin(async move {
                // An end of the cache wakes too: the definition is then looked at once more.
                drop(changes.changed().await);
                name
            }));
        }
        settle(&self.seeder, name, Some(left), now).await
    }
}

/// The group in a definition's name.
fn group_of(name: &str) -> &str {
    name.split_once('.').map_or("", |(_, group)| group)
}
