//! The one path from a wanted state to the store: defaults, admission, the kind's rules, a guarded transaction, and a
//! retry when somebody else was faster.

use std::sync::Arc;

use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::object::{Meta, MetaMut};
use mainstay_apiserver_machinery::pipeline::deletion::{self, DeleteOptions, DeletePlan};
use mainstay_apiserver_machinery::pipeline::{self, Author, Creation, NAME_SUFFIX_LENGTH, Target};
use mainstay_apiserver_machinery::value::Value;
use mainstay_base::lifecycle::Clock;
use mainstay_proto_api::Status;
use smol_str::SmolStr;

use super::subresource_view::SubresourceView;
use crate::cache::Cached;
use crate::config::Randomness;
use crate::registry::{Registry, Stored, Written};
use crate::types::{AdmissionRequest, Admit, Marks, Operation, Reinvocation, UserInfo, Warnings};

/// Names tried for one `generateName`, as upstream does.
const GENERATED_NAMES_MAX: usize = 8;
/// Rounds of an update or delete; each lost one means that somebody else succeeded.
const ROUNDS_MAX: usize = 50;

/// Writes objects by the rules. Clones share it.
#[derive(Clone)]
pub struct Writer {
    registry: Registry,
    admission: Arc<dyn Admit>,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
}

/// Whose write it is, and to what.
#[derive(Debug, Clone)]
pub struct WriteRequest {
    /// The kind in the URL.
    pub kind: &'static Kind,
    /// Namespace, or empty.
    pub namespace: SmolStr,
    /// Name; empty for creates.
    pub name: SmolStr,
    /// Who asks.
    pub user: Arc<UserInfo>,
    /// Whether to stop short of storing.
    pub dry_run: bool,
    /// The options as admission sees them.
    pub options: Value,
    /// Who comes to own the fields that the write changes.
    pub owner: FieldOwner,
    /// What admission is told of a delete.
    pub deletes: Deletes,
}

/// What admission is told of a delete.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Deletes {
    /// One object, by its name.
    #[default]
    Named,
    /// One of a collection's: without a name, as upstream.
    OfCollection,
    /// Nothing: it was asked about what leads to the delete (an eviction).
    Admitted,
}

/// Who comes to own the fields that a write changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum FieldOwner {
    /// The server itself; nobody is told as the owner.
    #[default]
    Nobody,
    /// The manager of that name.
    Manager(SmolStr),
    /// The wanted state says it already (an apply, a scale). An apply creates what is not there.
    Stated {
        /// Whether the write creates an absent object.
        creates: bool,
    },
}

/// A finished create or update.
#[derive(Debug)]
pub struct Outcome {
    /// The object now.
    pub stored: Stored,
    /// Whether the object was new.
    pub created: bool,
    /// Sentences for `Warning` headers.
    pub warnings: Vec<String>,
}

/// A finished delete.
#[derive(Debug)]
pub struct Deletion {
    /// The object's last, or newly marked, state.
    pub object: Stored,
    /// Whether it is gone.
    pub gone: bool,
    /// Sentences for `Warning` headers.
    pub warnings: Vec<String>,
}

/// An object that a write begins with.
struct Seen {
    object: Option<Arc<Cached>>,
    /// The store had it at a moment after the request came.
    is_fresh: bool,
}

impl Seen {
    fn differs_from(&self, before: &Cached) -> bool {
        self.object.as_ref().is_none_or(|now| now.header.revision != before.header.revision)
    }
}

impl Writer {
    /// A writer over `registry` with `admission` in its path.
    pub fn new(
        registry: Registry,
        admission: Arc<dyn Admit>,
        clock: Arc<dyn Clock>,
        randomness: Arc<dyn Randomness>,
    ) -> Self {
        Self { registry, admission, clock, randomness }
    }

    /// The admission chain, for endpoints whose requests are admitted but not stored (exec, attach, port-forward).
    pub fn admission(&self) -> &Arc<dyn Admit> {
        &self.admission
    }

    /// The registry below.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Creates an object.
    ///
    /// # Errors
    /// What admission, the kind's rules and the store say.
    pub async fn create(&self, request: &WriteRequest, mut object: Value) -> Result<Outcome, Status> {
        let kind = request.kind;
        pipeline::accept(kind, &mut object, &request.namespace)?;
        if !request.name.is_empty() {
            pipeline::check_identity(&object, &request.name, &request.namespace)?;
        }
        let duplicates = pipeline::dedup_owner_references(&mut object, false);
        self.track(request, Target::Object, &mut object, &Value::map());
        let mut admission = Self::admission_request(request, "", Operation::Create, object, None);
        admission.warnings.extend(duplicates);
        self.admission.mutate(&mut admission).await?;
        let duplicates = pipeline::dedup_owner_references(&mut admission.object, true);
        admission.warnings.extend(duplicates);
        let result = self.create_admitted(&mut admission, &request.owner).await;
        self.admission.settled(&admission, result.is_ok() && !request.dry_run).await;
        result.map(|stored| Outcome { stored, created: true, warnings: admission.warnings.into_vec() })
    }

    async fn create_admitted(
        &self,
        admission: &mut AdmissionRequest,
        owner: &FieldOwner,
    ) -> Result<Stored, Status> {
        let kind = admission.kind;
        let generated =
            Meta(&admission.object).name().is_empty() && !Meta(&admission.object).generate_name().is_empty();
        let uid = self.uid();
        // Only a generated name is tried again with what the client sent.
        let draft = generated.then(|| admission.object.clone());
        let mut attempts = 0;
        loop {
            attempts += 1;
            let suffix = self.name_suffix();
            let creation = Creation { now: self.clock.wall(), uid: &uid, name_suffix: &suffix };
            pipeline::prepare_create(kind, &mut admission.object, &creation)?;
            admission.name = Meta(&admission.object).name().into();
            let warnings = pipeline::validate_create(kind, &admission.object)?;
            self.admission.validate(admission).await?;
            let mut result = self.store_new(admission).await;
            if result.as_ref().is_err_and(|status| shrinks(status, owner, &mut admission.object)) {
                result = self.store_new(admission).await;
            }
            match result {
                Err(status) if generated && status.reason == "AlreadyExists" => {
                    if attempts == GENERATED_NAMES_MAX {
                        return Err(Status::generate_name_conflict(
                            kind.group,
                            kind.plural,
                            &admission.name,
                            1,
                        ));
                    }
                    admission.object = draft.clone().unwrap_or_default();
                }
                other => {
                    if attempts == 1 || other.is_ok() {
                        admission.warnings.extend(warnings);
                    }
                    return other;
                }
            }
        }
    }

    async fn store_new(&self, admission: &AdmissionRequest) -> Result<Stored, Status> {
        let (kind, namespace, name) = (admission.kind, &admission.namespace, &admission.name);
        if !admission.dry_run {
            return self.registry.create(kind, namespace, name, admission.object.clone()).await;
        }
        if self.registry.get_fresh(kind, namespace, name).await?.is_some() {
            return Err(Status::already_exists(kind.group, kind.plural, name));
        }
        self.registry.preview(kind, admission.object.clone()).await
    }

    /// Updates an object, its status or another part: `change` makes the wanted state out of the current one. It is
    /// called again when somebody else wrote in between.
    ///
    /// # Errors
    /// 404; what `change`, admission, the kind's rules and the store say.
    pub async fn update(
        &self,
        request: &WriteRequest,
        target: Target<'_>,
        change: impl FnMut(&Value) -> Result<Value, Status> + Send,
    ) -> Result<Outcome, Status> {
        self.update_part(request, (target, None), change).await
    }

    /// Updates what `view` shows of an object: `change` makes the wanted view out of the current object. Admission sees the view only.
    ///
    /// # Errors
    /// As [`Writer::update`].
    pub async fn update_view(
        &self,
        request: &WriteRequest,
        view: &dyn SubresourceView,
        change: impl FnMut(&Value) -> Result<Value, Status> + Send,
    ) -> Result<Outcome, Status> {
        self.update_part(request, (Target::Object, Some(view)), change).await
    }

    async fn update_part(
        &self,
        request: &WriteRequest,
        (target, view): (Target<'_>, Option<&dyn SubresourceView>),
        mut change: impl FnMut(&Value) -> Result<Value, Status> + Send,
    ) -> Result<Outcome, Status> {
        let kind = request.kind;
        let mut seen = self.seen(request).await?;
        for _round in 0..ROUNDS_MAX {
            let Some(cached) = seen.object else {
                let creates = request.owner == FieldOwner::Stated { creates: true };
                if target == Target::Object && view.is_none() && (creates || kind.rules.create_on_update()) {
                    let mut object = change(&Value::Null)?;
                    MetaMut(&mut object).set_resource_version("");
                    return self.create(request, object).await;
                }
                return Err(Status::not_found(kind.group, kind.plural, &request.name));
            };
            let old = self.registry.decode_in_form(kind, &cached).await?;
            let written = match change(&old) {
                Ok(new) => match view {
                    None => self.update_once(request, target, &cached, (old, new)).await,
                    Some(view) => self.update_view_once(request, view, &cached, (old, new)).await,
                },
                Err(status) => Err(status),
            };
            let is_compared = |(written, _): &(Written, Vec<String>)| written.is_compared_with(&cached);
            if !seen.is_fresh && !written.as_ref().is_ok_and(is_compared) {
                seen = self.seen_now(request).await?;
                if seen.differs_from(&cached) {
                    continue;
                }
            }
            match written? {
                (Written::Stored(stored), warnings) => {
                    return Ok(Outcome { stored, created: false, warnings });
                }
                (Written::Changed(newer), _) => seen = Seen { object: newer, is_fresh: true },
            }
        }
        Err(Status::server_timeout(kind.group, kind.plural, "update", 1))
    }

    /// What a write begins with: the object as the cache has it. A write is made only while the store has that too, so it needs not be asked
    /// beforehand (as upstream); whoever does not write in the end asks then.
    async fn seen(&self, request: &WriteRequest) -> Result<Seen, Status> {
        let cached = self.registry.get_readable(request.kind, &request.namespace, &request.name)?;
        if request.dry_run || cached.is_none() {
            return self.seen_now(request).await;
        }
        Ok(Seen { object: cached, is_fresh: false })
    }

    async fn seen_now(&self, request: &WriteRequest) -> Result<Seen, Status> {
        let object = self.registry.get_fresh(request.kind, &request.namespace, &request.name).await?;
        Ok(Seen { object, is_fresh: true })
    }

    async fn update_once(
        &self,
        request: &WriteRequest,
        target: Target<'_>,
        cached: &Arc<Cached>,
        (old, mut new): (Value, Value),
    ) -> Result<(Written, Vec<String>), Status> {
        let kind = request.kind;
        pipeline::check_identity(&new, &request.name, &request.namespace)?;
        pipeline::accept(kind, &mut new, &request.namespace)?;
        let duplicates = pipeline::dedup_owner_references(&mut new, false);
        self.track(request, target, &mut new, &old);
        let subresource = match target {
            Target::Object => "",
            Target::Status => "status",
            Target::Part(name) => name,
        };
        let mut admission = Self::admission_request(request, subresource, Operation::Update, new, Some(old));
        admission.warnings.extend(duplicates);
        self.admission.mutate(&mut admission).await?;
        let duplicates = pipeline::dedup_owner_references(&mut admission.object, true);
        admission.warnings.extend(duplicates);
        let written = self.update_admitted(target, cached, &mut admission, &request.owner).await;
        let stored = matches!(written, Ok(Written::Stored(_))) && !request.dry_run;
        self.admission.settled(&admission, stored).await;
        Ok((written?, admission.warnings.into_vec()))
    }

    /// As [`Writer::update_once`], of a view: what admission makes of it is put into the object, and what that shows then is checked.
    async fn update_view_once(
        &self,
        request: &WriteRequest,
        view: &dyn SubresourceView,
        cached: &Arc<Cached>,
        (old, wanted): (Value, Value),
    ) -> Result<(Written, Vec<String>), Status> {
        let seen = Some(view.of(&old)?);
        let mut admission =
            Self::admission_request(request, view.subresource(), Operation::Update, wanted, seen);
        self.admission.mutate(&mut admission).await?;
        let written = self.view_admitted(view, cached, &mut admission, (&old, &request.owner)).await;
        let stored = matches!(written, Ok(Written::Stored(_))) && !request.dry_run;
        self.admission.settled(&admission, stored).await;
        Ok((written?, admission.warnings.into_vec()))
    }

    async fn view_admitted(
        &self,
        view: &dyn SubresourceView,
        cached: &Arc<Cached>,
        admission: &mut AdmissionRequest,
        (old, owner): (&Value, &FieldOwner),
    ) -> Result<Written, Status> {
        let kind = admission.kind;
        let mut object = view.put(old, &admission.object)?;
        let checked = pipeline::prepare_update(kind, Target::Object, &mut object, old)
            .and_then(|()| pipeline::validate_update(kind, Target::Object, &object, old));
        admission.warnings.extend(checked?);
        admission.object = view.of(&object)?;
        self.admission.validate(admission).await?;
        let unchanged = pipeline::is_unchanged(&object, old);
        // The object itself is what is stored.
        admission.object = object;
        self.store_update(unchanged, cached, admission, owner).await
    }

    async fn update_admitted(
        &self,
        target: Target<'_>,
        cached: &Arc<Cached>,
        admission: &mut AdmissionRequest,
        owner: &FieldOwner,
    ) -> Result<Written, Status> {
        let kind = admission.kind;
        let old = admission.old.take().unwrap_or_default();
        let checked = pipeline::prepare_update(kind, target, &mut admission.object, &old)
            .and_then(|()| pipeline::validate_update(kind, target, &admission.object, &old));
        let unchanged = pipeline::is_unchanged(&admission.object, &old);
        admission.old = Some(old);
        admission.warnings.extend(checked?);
        self.admission.validate(admission).await?;
        self.store_update(unchanged, cached, admission, owner).await
    }

    async fn store_update(
        &self,
        unchanged: bool,
        cached: &Arc<Cached>,
        admission: &mut AdmissionRequest,
        owner: &FieldOwner,
    ) -> Result<Written, Status> {
        let kind = admission.kind;
        // What is stored in an older form, or sealed by a key of old, is written anew, as upstream does.
        let is_stale = cached.header.stale && !admission.dry_run;
        if unchanged && cached.kind == kind.stored_kind() && !is_stale {
            let cached = self.registry.in_form(kind, Arc::clone(cached)).await?;
            return Ok(Written::Stored(Stored { object: admission.object.clone(), cached }));
        }
        let written = self.store_state(cached, admission).await;
        if written.as_ref().is_err_and(|status| shrinks(status, owner, &mut admission.object)) {
            return self.store_state(cached, admission).await;
        }
        written
    }

    async fn store_state(
        &self,
        cached: &Arc<Cached>,
        admission: &AdmissionRequest,
    ) -> Result<Written, Status> {
        let (kind, new) = (admission.kind, admission.object.clone());
        if admission.dry_run {
            return self.registry.preview(kind, new).await.map(Written::Stored);
        }
        if pipeline::removes_object(kind, &new) {
            return self.registry.remove(kind, cached).await;
        }
        self.registry.replace(kind, cached, new).await
    }

    /// Deletes an object, or marks it when something has to happen first.
    ///
    /// # Errors
    /// 404, 409; what admission and the store say.
    pub async fn delete(&self, request: &WriteRequest, options: &DeleteOptions) -> Result<Deletion, Status> {
        let kind = request.kind;
        let mut seen = self.seen(request).await?;
        for _round in 0..ROUNDS_MAX {
            let Some(cached) = seen.object else {
                return Err(Status::not_found(kind.group, kind.plural, &request.name));
            };
            let deleted = self.delete_once(request, options, &cached).await;
            let is_compared =
                |(written, ..): &(Written, bool, Vec<String>)| written.is_compared_with(&cached);
            if !seen.is_fresh && !deleted.as_ref().is_ok_and(is_compared) {
                seen = self.seen_now(request).await?;
                if seen.differs_from(&cached) {
                    continue;
                }
            }
            match deleted? {
                (Written::Stored(object), gone, warnings) => return Ok(Deletion { object, gone, warnings }),
                (Written::Changed(newer), ..) => seen = Seen { object: newer, is_fresh: true },
            }
        }
        Err(Status::server_timeout(kind.group, kind.plural, "delete", 1))
    }

    /// Says also whether the object goes at once.
    async fn delete_once(
        &self,
        request: &WriteRequest,
        options: &DeleteOptions,
        cached: &Arc<Cached>,
    ) -> Result<(Written, bool, Vec<String>), Status> {
        let old = self.registry.decode_in_form(request.kind, cached).await?;
        let mut admission =
            Self::admission_request(request, "", Operation::Delete, Value::Null, Some(old.clone()));
        if request.deletes == Deletes::OfCollection {
            admission.name = SmolStr::default();
        }
        if request.deletes != Deletes::Admitted {
            self.admission.mutate(&mut admission).await?;
            self.admission.validate(&admission).await?;
        }
        let plan = deletion::plan(request.kind, &old, options, self.clock.wall())?;
        let gone = matches!(plan, DeletePlan::Remove { .. });
        let written = self.carry_out(request, cached, old, plan).await;
        let stored = matches!(written, Ok(Written::Stored(_))) && !request.dry_run;
        self.admission.settled(&admission, stored && gone).await;
        Ok((written?, gone, admission.warnings.into_vec()))
    }

    async fn carry_out(
        &self,
        request: &WriteRequest,
        cached: &Arc<Cached>,
        old: Value,
        plan: DeletePlan,
    ) -> Result<Written, Status> {
        let kind = request.kind;
        match plan {
            DeletePlan::Remove { .. } if !request.dry_run => self.registry.remove(kind, cached).await,
            DeletePlan::Mark { object } if !request.dry_run => {
                self.registry.replace(kind, cached, object).await
            }
            DeletePlan::Mark { object } => self.registry.preview(kind, object).await.map(Written::Stored),
            DeletePlan::Remove { .. } | DeletePlan::Pending => {
                let cached = self.registry.in_form(kind, Arc::clone(cached)).await?;
                Ok(Written::Stored(Stored { object: old, cached }))
            }
        }
    }

    fn track(&self, request: &WriteRequest, target: Target<'_>, new: &mut Value, old: &Value) {
        match &request.owner {
            FieldOwner::Nobody => {
                let owners = Meta(old).managed_fields();
                let mut meta = MetaMut(new);
                meta.remove("managedFields");
                if !owners.is_empty() {
                    meta.map().insert("managedFields", owners.to_vec());
                }
            }
            FieldOwner::Manager(manager) => {
                let author = Author { manager, now: self.clock.wall() };
                pipeline::track(request.kind, target, new, old, author);
            }
            FieldOwner::Stated { .. } => {}
        }
    }

    fn admission_request(
        request: &WriteRequest,
        subresource: &str,
        operation: Operation,
        object: Value,
        old: Option<Value>,
    ) -> AdmissionRequest {
        let name = if request.name.is_empty() { Meta(&object).name().into() } else { request.name.clone() };
        let mut options = request.options.clone();
        if operation == Operation::Create && !options.is_null() {
            // It may have been an update or a patch of what was not there.
            options.set_path(&["kind"], "CreateOptions");
        }
        AdmissionRequest {
            kind: request.kind,
            subresource: subresource.into(),
            operation,
            namespace: request.namespace.clone(),
            name,
            object,
            old,
            user: request.user.clone(),
            dry_run: request.dry_run,
            options,
            warnings: Warnings::default(),
            marks: Marks::default(),
            reinvocation: Reinvocation::default(),
        }
    }

    fn uid(&self) -> String {
        let mut bytes = [0; 16];
        self.randomness.fill(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }

    fn name_suffix(&self) -> SmolStr {
        let mut bytes = [0; NAME_SUFFIX_LENGTH];
        self.randomness.fill(&mut bytes);
        pipeline::name_suffix(bytes)
    }
}

/// Whether a write that was too large for the store is to be tried again: without what is said of owners of fields, which can be large
/// (as upstream). An apply is nothing without it.
fn shrinks(status: &Status, owner: &FieldOwner, object: &mut Value) -> bool {
    let mut meta = MetaMut(object);
    let shrinks = status.reason == "RequestEntityTooLarge"
        && matches!(owner, FieldOwner::Manager(_))
        && !meta.read().managed_fields().is_empty();
    if shrinks {
        meta.remove("managedFields");
    }
    shrinks
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("registry", &self.registry).finish_non_exhaustive()
    }
}
