//! A delete: whether the object goes at once, is marked and waits (grace period, finalizers, phases), or is
//! already on its way.

use super::{parse_timestamp, timestamp};
use crate::kind::{CollectionPolicy, Kind};
use crate::object::{Meta, MetaMut};
use crate::validation::{ErrorList, FINALIZER_FOREGROUND, FINALIZER_ORPHAN, Path};
use crate::value::Value;
use mainstay_proto_api::Status;
use smol_str::SmolStr;
use time::{Duration, OffsetDateTime};

/// The option that removes what cannot be read.
pub const UNREADABLE: &str = "ignoreStoreReadErrorWithClusterBreakingPotential";

/// What a delete asks for (meta/v1 `DeleteOptions`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds that the object gets to end; negative counts as 1.
    pub grace_period_seconds: Option<i64>,
    /// Uid that the object must have.
    pub uid: Option<SmolStr>,
    /// Resource version that the object must have.
    pub resource_version: Option<SmolStr>,
    /// `Foreground`, `Background` or `Orphan`.
    pub propagation_policy: Option<SmolStr>,
    /// The older form of the policy: true keeps dependents.
    pub orphan_dependents: Option<bool>,
    /// Whether nothing is to be stored.
    pub dry_run: bool,
    /// Whether the object is to go although it cannot be read (`ignoreStoreReadErrorWithClusterBreakingPotential`).
    pub unreadable: bool,
}

/// What a delete does.
#[derive(Clone, Debug, PartialEq)]
pub enum DeletePlan {
    /// Remove the stored object; `last` is its final state, for the answer and the event.
    Remove {
        /// The final state.
        last: Value,
    },
    /// Store the marked object; something else removes it later.
    Mark {
        /// The state to store.
        object: Value,
    },
    /// Nothing to do: the object is being deleted already.
    Pending,
}

impl DeleteOptions {
    /// Reads and checks the options of a request body.
    ///
    /// # Errors
    /// A 422 when the values contradict each other or are unknown.
    pub fn from_value(body: &Value) -> Result<Self, Status> {
        let text = |path: &[&str]| body.path_str(path).map(SmolStr::new);
        let dry_run = body.path_list(&["dryRun"]);
        let options = Self {
            grace_period_seconds: body.path_i64(&["gracePeriodSeconds"]),
            uid: text(&["preconditions", "uid"]),
            resource_version: text(&["preconditions", "resourceVersion"]),
            propagation_policy: text(&["propagationPolicy"]),
            orphan_dependents: body.path_bool(&["orphanDependents"]),
            dry_run: !dry_run.is_empty(),
            unreadable: body.path_bool(&[UNREADABLE]) == Some(true),
        };
        let mut errors = ErrorList::new();
        if dry_run.iter().any(|one| one.as_str() != Some("All")) {
            errors.not_supported(&Path::new("dryRun"), dry_run.to_vec(), &["All"]);
        }
        options.validate(&mut errors);
        if options.unreadable {
            for other in ["propagationPolicy", "orphanDependents", "gracePeriodSeconds", "preconditions"] {
                if body.path(&[other]).is_some_and(|value| !value.is_null()) {
                    let why = format!("cannot be set together with .{other}");
                    errors.invalid(&Path::new(UNREADABLE), true, &why);
                }
            }
        }
        errors.into_result("meta.k8s.io", "DeleteOptions", "")?;
        Ok(options)
    }

    /// Checks the options.
    pub fn validate(&self, errors: &mut ErrorList) {
        let path = Path::new("propagationPolicy");
        let Some(policy) = self.propagation_policy.as_deref() else { return };
        if self.orphan_dependents.is_some() {
            errors.invalid(&path, policy, "orphanDependents and deletionPropagation cannot be both set");
        }
        if !matches!(policy, "Foreground" | "Background" | "Orphan") {
            errors.not_supported(&path, policy, &["Foreground", "Background", "Orphan", "nil"]);
        }
    }
}

/// Plans the delete of a stored object.
///
/// # Errors
/// A 409 when a precondition does not hold.
pub fn plan(
    kind: &Kind,
    object: &Value,
    options: &DeleteOptions,
    now: OffsetDateTime,
) -> Result<DeletePlan, Status> {
    check_preconditions(kind, object, options)?;
    let mut marked = object.clone();
    if kind.rules.deletes_in_phases() {
        if !Meta(object).is_deleting() {
            set_finalizers(kind, &mut marked, options);
            mark(&mut marked, now, None);
            kind.rules.mark_terminating(&mut marked);
            return Ok(DeletePlan::Mark { object: marked });
        }
        if kind.rules.holds_deletion(object) {
            return Ok(DeletePlan::Pending);
        }
    }
    match grace(kind, object, options, now) {
        Grace::Pending => return Ok(DeletePlan::Pending),
        Grace::None => {
            set_finalizers(kind, &mut marked, options);
            if Meta(&marked).finalizers().next().is_none() {
                return Ok(DeletePlan::Remove { last: marked });
            }
            mark_now(&mut marked, now);
        }
        Grace::Until { deletion, seconds, first } => {
            set_finalizers(kind, &mut marked, options);
            let generation = Meta(object).generation();
            let mut meta = MetaMut(&mut marked);
            meta.set_deletion(Some((&timestamp(deletion), seconds)));
            if first && generation > 0 {
                meta.set_generation(generation.saturating_add(1));
            }
            kind.rules.mark_terminating(&mut marked);
            if seconds == 0 && Meta(&marked).finalizers().next().is_none() {
                return Ok(DeletePlan::Remove { last: marked });
            }
        }
    }
    Ok(if marked == *object { DeletePlan::Pending } else { DeletePlan::Mark { object: marked } })
}

/// Whether an object is the one that is meant.
///
/// # Errors
/// A 409 when a precondition does not hold.
pub fn check_preconditions(kind: &Kind, object: &Value, options: &DeleteOptions) -> Result<(), Status> {
    let meta = Meta(object);
    let fail = |what: &str, wanted: &str, found: &str, done: &str| {
        let text = format!(
            "the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). The object \
             might have been {done}"
        );
        Err(Status::conflict(kind.group, kind.plural, meta.name(), &text))
    };
    match (&options.uid, &options.resource_version) {
        (Some(uid), _) if uid != meta.uid() => fail("UID", uid, meta.uid(), "deleted and then recreated"),
        (_, Some(version)) if version != meta.resource_version() => {
            fail("ResourceVersion", version, meta.resource_version(), "modified")
        }
        _ => Ok(()),
    }
}

enum Grace {
    /// The kind, or the state of the object, has no grace period.
    None,
    /// The object keeps the deletion time that it has.
    Pending,
    /// The object gets this deletion time.
    Until { deletion: OffsetDateTime, seconds: i64, first: bool },
}

fn grace(kind: &Kind, object: &Value, options: &DeleteOptions, now: OffsetDateTime) -> Grace {
    let requested = options.grace_period_seconds.map(|seconds| if seconds < 0 { 1 } else { seconds });
    let meta = Meta(object);
    let Some(seconds) = kind.rules.graceful_delete_seconds(object, requested) else { return Grace::None };
    let Some(deletion) = meta.deletion_timestamp() else {
        return Grace::Until {
            deletion: now.saturating_add(Duration::seconds(seconds)),
            seconds,
            first: true,
        };
    };
    let Some(current) = meta.deletion_grace_period_seconds().map(|s| if s < 0 { 1 } else { s }) else {
        return Grace::None;
    };
    // A later delete may only shorten the grace period.
    let Some(requested) = requested.filter(|requested| *requested < current) else { return Grace::Pending };
    let deletion = parse_timestamp(deletion).unwrap_or(now);
    let deletion = deletion.saturating_add(Duration::seconds(requested - current));
    Grace::Until { deletion, seconds: requested, first: false }
}

/// Marks an object that has no grace period but waits for finalizers.
fn mark_now(object: &mut Value, now: OffsetDateTime) {
    let passed = Meta(object).deletion_timestamp().and_then(parse_timestamp).is_some_and(|time| time <= now);
    if passed {
        MetaMut(object).map().insert("deletionGracePeriodSeconds", 0);
    } else {
        mark(object, now, Some(0));
    }
}

fn mark(object: &mut Value, now: OffsetDateTime, grace_seconds: Option<i64>) {
    let (deleting, generation) = (Meta(object).is_deleting(), Meta(object).generation());
    let mut meta = MetaMut(object);
    if !deleting && generation > 0 {
        meta.set_generation(generation.saturating_add(1));
    }
    meta.map().insert("deletionTimestamp", timestamp(now));
    if let Some(seconds) = grace_seconds {
        meta.map().insert("deletionGracePeriodSeconds", seconds);
    }
}

/// Sets the two finalizers of garbage collection as the options, the object or the kind ask, in this order.
fn set_finalizers(kind: &Kind, object: &mut Value, options: &DeleteOptions) {
    let (orphan, foreground) = collection(kind, object, options);
    let meta = Meta(object);
    if meta.has_finalizer(FINALIZER_ORPHAN) == orphan
        && meta.has_finalizer(FINALIZER_FOREGROUND) == foreground
    {
        return;
    }
    let mut finalizers: Vec<SmolStr> = meta
        .finalizers()
        .filter(|finalizer| *finalizer != FINALIZER_ORPHAN && *finalizer != FINALIZER_FOREGROUND)
        .map(SmolStr::new)
        .collect();
    if orphan {
        finalizers.push(FINALIZER_ORPHAN.into());
    }
    if foreground {
        finalizers.push(FINALIZER_FOREGROUND.into());
    }
    MetaMut(object).set_finalizers(finalizers.iter().map(SmolStr::as_str));
}

/// Whether a delete sets the orphan and the foreground finalizer.
fn collection(kind: &Kind, object: &Value, options: &DeleteOptions) -> (bool, bool) {
    let policy = kind.rules.collection_policy();
    if policy == CollectionPolicy::Unsupported {
        return (false, false);
    }
    if let Some(orphan) = options.orphan_dependents {
        return (orphan, false);
    }
    if let Some(wanted) = options.propagation_policy.as_deref() {
        return (wanted == "Orphan", wanted == "Foreground");
    }
    for finalizer in Meta(object).finalizers() {
        match finalizer {
            FINALIZER_ORPHAN => return (true, false),
            FINALIZER_FOREGROUND => return (false, true),
            _ => {}
        }
    }
    (policy == CollectionPolicy::Orphan, false)
}
