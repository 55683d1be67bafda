//! [`Managed`]: the owners of an object's fields, read from `metadata.managedFields` as far as needed and written back in
//! upstream's order.

use super::field_set::FieldSet;
use super::fields_v1::FieldsError;
use crate::value::{Map, Value};
use smol_str::SmolStr;
use std::borrow::Cow;

/// Owners that one object may list; more are refused, where upstream has no limit but the object's size.
pub const ENTRIES_MAX: usize = 1000;
/// Owners by update that are kept apart; of more, the oldest are joined.
const UPDATERS_MAX: usize = 10;
/// Who owns what the oldest owners owned.
const ANCIENT: &str = "ancient-changes";

/// How an owner came by its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Server-side apply.
    Apply,
    /// Create, update, or another patch.
    Update,
}

impl Operation {
    /// The text in `managedFields`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// Who an owner is. Appliers are one whatever version they applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagerId {
    /// The manager's name.
    pub manager: SmolStr,
    /// How it wrote.
    pub operation: Operation,
    /// The version it wrote; empty for appliers.
    pub api_version: SmolStr,
    /// The subresource it wrote; empty for the object itself.
    pub subresource: SmolStr,
}

/// One write, as its entry in `managedFields` will tell it.
#[derive(Debug, Clone, Copy)]
pub struct Writing<'a> {
    /// The manager's name; empty is shown as `unknown`.
    pub manager: &'a str,
    /// The version of the request.
    pub api_version: &'a str,
    /// The subresource; empty for the object itself.
    pub subresource: &'a str,
    /// Now, in whole seconds, RFC 3339 in UTC.
    pub now: &'a str,
    /// Fields that this write cannot change, whatever it says.
    pub reset: &'a FieldSet,
}

impl Writing<'_> {
    /// Who the write makes the owner.
    pub fn id(&self, operation: Operation) -> ManagerId {
        let manager = if self.manager.is_empty() { "unknown" } else { self.manager };
        let api_version = if operation == Operation::Apply { "" } else { self.api_version };
        ManagerId {
            manager: manager.into(),
            operation,
            api_version: api_version.into(),
            subresource: self.subresource.into(),
        }
    }
}

impl ManagerId {
    /// What upstream sorts owners by: the start of the entry as JSON.
    pub(super) fn sort_key(&self) -> String {
        let mut text = Vec::new();
        crate::json::write_string(&self.manager, &mut text);
        let rest = format!(",{},{},{}", self.operation.as_str(), self.api_version, self.subresource);
        text.extend_from_slice(rest.as_bytes());
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl std::fmt::Display for ManagerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::validation::quote(&self.manager))?;
        if !self.subresource.is_empty() {
            write!(f, " with subresource {}", crate::validation::quote(&self.subresource))?;
        }
        if self.operation == Operation::Update {
            write!(f, " using {}", self.api_version)?;
        }
        Ok(())
    }
}

/// One owner.
#[derive(Debug, Clone)]
pub(super) struct Owner<'v> {
    pub(super) id: ManagerId,
    /// The version that the fields are of.
    pub(super) api_version: SmolStr,
    pub(super) time: Option<SmolStr>,
    pub(super) fields: Fields<'v>,
}

/// An owner's fields: as they stand in the object until something has to be done with them.
#[derive(Debug, Clone)]
pub(super) enum Fields<'v> {
    Stored(&'v Value),
    Set(FieldSet),
}

impl Fields<'_> {
    /// The set. What cannot be read was checked when it was taken in, and counts as nothing.
    pub(super) fn set(&self) -> Cow<'_, FieldSet> {
        match self {
            Self::Stored(value) => Cow::Owned(FieldSet::from_fields_v1(value).unwrap_or_default()),
            Self::Set(set) => Cow::Borrowed(set),
        }
    }
}

/// Why `managedFields` cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManagedError {
    /// An entry that neither applied nor updated.
    #[error("operation must be `Apply` or `Update`")]
    Operation,
    /// An entry without version.
    #[error("apiVersion must not be empty")]
    ApiVersion,
    /// An entry that does not say how its fields are written.
    #[error("missing fieldsType in managed fields entry {0}")]
    NoFieldsType(usize),
    /// An entry whose fields are written in an unknown way.
    #[error("invalid fieldsType {found:?} in managed fields entry {at}")]
    FieldsType {
        /// What it says.
        found: String,
        /// The entry's place.
        at: usize,
    },
    /// Fields that are no set.
    #[error("error decoding set in managed fields entry {at}: {source}")]
    Fields {
        /// The entry's place.
        at: usize,
        /// What is wrong.
        source: FieldsError,
    },
    /// More owners than are kept.
    #[error("more than {ENTRIES_MAX} managed fields entries")]
    TooMany,
}

/// The owners of an object's fields.
#[derive(Debug, Clone, Default)]
pub struct Managed<'v> {
    pub(super) owners: Vec<Owner<'v>>,
}

impl<'v> Managed<'v> {
    /// Reads entries that were stored: the fields are not looked at until needed.
    ///
    /// # Errors
    /// An entry that this server did not write.
    pub fn stored(entries: &'v [Value]) -> Result<Self, ManagedError> {
        let mut managed = Self::default();
        for (at, entry) in entries.iter().enumerate() {
            let owner = owner(at, entry)?;
            match managed.owners.iter_mut().find(|known| known.id == owner.id) {
                Some(known) => *known = owner,
                None => managed.owners.push(owner),
            }
        }
        Ok(managed)
    }

    /// Reads entries that a client sent: all of it is checked and made canonical.
    ///
    /// # Errors
    /// An entry that is none.
    pub fn sent(entries: &'v [Value]) -> Result<Self, ManagedError> {
        if entries.len() > ENTRIES_MAX {
            return Err(ManagedError::TooMany);
        }
        let mut managed = Self::stored(entries)?;
        for (at, owner) in managed.owners.iter_mut().enumerate() {
            if let Fields::Stored(value) = owner.fields {
                let set =
                    FieldSet::from_fields_v1(value).map_err(|source| ManagedError::Fields { at, source })?;
                owner.fields = Fields::Set(set);
            }
        }
        Ok(managed)
    }

    /// Whether nobody owns anything.
    pub fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }

    pub(super) fn find(&self, id: &ManagerId) -> Option<&Owner<'v>> {
        self.owners.iter().find(|owner| owner.id == *id)
    }

    pub(super) fn find_mut(&mut self, id: &ManagerId) -> Option<&mut Owner<'v>> {
        self.owners.iter_mut().find(|owner| owner.id == *id)
    }

    /// Takes paths from every owner but `spared`; owners of nothing go.
    pub(super) fn release(&mut self, paths: &FieldSet, spared: Option<&ManagerId>) {
        if paths.is_empty() {
            return;
        }
        self.owners.retain_mut(|owner| {
            if Some(&owner.id) == spared {
                return true;
            }
            let left = match &owner.fields {
                Fields::Stored(value) if !paths.meets(value) => return true,
                fields => fields.set().difference(paths),
            };
            let kept = !left.is_empty();
            owner.fields = Fields::Set(left);
            kept
        });
    }

    /// Joins the oldest owners by update until few enough are left.
    pub(super) fn cap(&mut self) {
        let mut updaters: Vec<ManagerId> = Vec::new();
        let mut order: Vec<usize> = (0..self.owners.len()).collect();
        order.retain(|at| self.owners.get(*at).is_some_and(|o| o.id.operation == Operation::Update));
        if order.len() <= UPDATERS_MAX {
            return;
        }
        order.sort_by_key(|at| {
            self.owners.get(*at).map(|o| (o.time.clone().unwrap_or_default(), o.id.sort_key()))
        });
        updaters.extend(order.iter().filter_map(|at| Some(self.owners.get(*at)?.id.clone())));
        let mut left = updaters.len();
        let mut first_of: Vec<(SmolStr, ManagerId)> = Vec::new();
        for id in updaters {
            if left <= UPDATERS_MAX {
                break;
            }
            let Some(owner) = self.find(&id).cloned() else { continue };
            let version = owner.api_version.clone();
            let bucket = ManagerId {
                manager: ANCIENT.into(),
                operation: Operation::Update,
                api_version: version.clone(),
                subresource: SmolStr::default(),
            };
            let Some(first) = first_of.iter().find(|(v, _)| *v == version).map(|(_, id)| id.clone()) else {
                first_of.push((version, id));
                continue;
            };
            if id == bucket {
                continue;
            }
            if self.find(&bucket).is_none()
                && let Some(first) = self.find_mut(&first)
            {
                first.id = bucket.clone();
            }
            if let Some(into) = self.find_mut(&bucket) {
                into.fields = Fields::Set(owner.fields.set().union(&into.fields.set()));
                into.time = owner.time;
            }
            self.owners.retain(|owner| owner.id != id);
            left -= 1;
        }
    }

    /// The entries as `metadata.managedFields` lists them; empty when there are none.
    pub fn into_entries(mut self) -> Vec<Value> {
        self.owners.sort_by(|a, b| {
            let time = |owner: &Owner<'_>| owner.time.clone().unwrap_or_default();
            (a.id.operation.cmp(&b.id.operation))
                .then_with(|| time(a).cmp(&time(b)))
                .then_with(|| a.id.manager.cmp(&b.id.manager))
                .then_with(|| a.api_version.cmp(&b.api_version))
                .then_with(|| a.id.subresource.cmp(&b.id.subresource))
        });
        self.owners.into_iter().map(entry).collect()
    }
}

fn entry(owner: Owner<'_>) -> Value {
    let mut map = Vec::with_capacity(7);
    let mut put = |name: &'static str, value: Value| map.push((SmolStr::new_static(name), value));
    put("apiVersion", Value::Str(owner.api_version));
    put("fieldsType", Value::from("FieldsV1"));
    put(
        "fieldsV1",
        match owner.fields {
            Fields::Stored(value) => value.clone(),
            Fields::Set(set) => set.to_fields_v1(),
        },
    );
    if !owner.id.manager.is_empty() {
        put("manager", Value::Str(owner.id.manager));
    }
    put("operation", Value::from(owner.id.operation.as_str()));
    if !owner.id.subresource.is_empty() {
        put("subresource", Value::Str(owner.id.subresource));
    }
    if let Some(time) = owner.time {
        put("time", Value::Str(time));
    }
    Value::Map(Map::from_pairs(map))
}

static NO_FIELDS: Value = Value::map();

fn owner(at: usize, entry: &Value) -> Result<Owner<'_>, ManagedError> {
    let text = |name: &str| entry.get(name).and_then(Value::as_smol).cloned().unwrap_or_default();
    let operation = match text("operation").as_str() {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return Err(ManagedError::Operation),
    };
    let api_version = text("apiVersion");
    if api_version.is_empty() {
        return Err(ManagedError::ApiVersion);
    }
    match text("fieldsType").as_str() {
        "FieldsV1" => {}
        "" => return Err(ManagedError::NoFieldsType(at)),
        other => return Err(ManagedError::FieldsType { found: other.to_owned(), at }),
    }
    let version_of_id = if operation == Operation::Apply { SmolStr::default() } else { api_version.clone() };
    Ok(Owner {
        id: ManagerId {
            manager: text("manager"),
            operation,
            api_version: version_of_id,
            subresource: text("subresource"),
        },
        api_version,
        time: Some(text("time")).filter(|time| !time.is_empty()),
        fields: Fields::Stored(entry.get("fieldsV1").unwrap_or(&NO_FIELDS)),
    })
}

/// Whether two objects are equal but for the times of their owners.
pub fn differ_in_time_only(new: &Value, old: &Value) -> bool {
    static EMPTY: Map = Map::new();
    let (Some(a), Some(b)) = (new.as_map(), old.as_map()) else { return false };
    let (meta_a, meta_b) = (a.get("metadata"), b.get("metadata"));
    let (meta_a, meta_b) =
        (meta_a.and_then(Value::as_map).unwrap_or(&EMPTY), meta_b.and_then(Value::as_map).unwrap_or(&EMPTY));
    let (a_owners, b_owners) =
        (crate::object::Meta(new).managed_fields(), crate::object::Meta(old).managed_fields());
    a_owners.len() == b_owners.len()
        && equal_but(meta_a, meta_b, "managedFields")
        && a_owners.iter().zip(b_owners).all(|(a, b)| match (a.as_map(), b.as_map()) {
            (Some(a), Some(b)) => equal_but(a, b, "time"),
            _ => false,
        })
        && equal_but(a, b, "metadata")
}

/// Whether two objects are equal but for the member `skip`.
fn equal_but(a: &Map, b: &Map, skip: &str) -> bool {
    let others = |map: &Map| map.len() - usize::from(map.contains_key(skip));
    others(a) == others(b) && a.iter().all(|(name, value)| name == skip || b.get(name) == Some(value))
}
