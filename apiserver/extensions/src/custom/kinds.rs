//! From a definition to kinds. A kind's face (names, subresources, columns) is interned, its definition stands behind the
//! rules and is replaced: see docs/decisions/0020.

use super::definition::{Definition, Scale, Version};
use super::rules::{CustomRules, Facts, Live};
use mainstay_apiserver_machinery::intern::{self, Full, Interned};
use mainstay_apiserver_machinery::kind::{
    Action, Column, Kind, STORED_VERBS, ScalePaths, Storage, Subresource,
};
use mainstay_apiserver_machinery::schema::CUSTOM_OBJECT;
use smol_str::SmolStr;
use std::sync::{Arc, LazyLock};

/// Why a definition has no kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KindError {
    /// The process keeps too many names already.
    #[error(transparent)]
    Full(#[from] Full),
    /// No version is marked as the stored one.
    #[error("no version is stored")]
    NotStored,
}

/// A kind and the way to its rules.
pub struct Face {
    /// The kind.
    pub kind: Kind,
    rules: &'static CustomRules,
}

/// The kinds of one definition.
#[derive(Clone)]
pub struct Faces {
    /// The kind whose form is stored; it may not be served.
    pub stored: &'static Kind,
    /// The kinds that are served, in the definition's order.
    pub served: Vec<&'static Kind>,
    all: Vec<&'static Face>,
}

impl Faces {
    /// Refuses creates from now on, until the definition is set anew.
    pub fn close(&self) {
        self.all.iter().for_each(|face| face.rules.close());
    }
}

/// What a face is known by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    names: [SmolStr; 5],
    version: SmolStr,
    stored_as: SmolStr,
    short_names: Vec<SmolStr>,
    categories: Vec<SmolStr>,
    columns: Vec<[SmolStr; 4]>,
    priorities: Vec<i32>,
    selectable: Vec<SmolStr>,
    scale: Option<Scale>,
    is_namespaced: bool,
    has_status: bool,
}

static FACES: LazyLock<Interned<Key, Face>> = LazyLock::new(Interned::new);

/// The kinds of a definition, with the definition behind them from now on.
///
/// # Errors
/// [`KindError`].
pub fn kinds_of(definition: &Arc<Definition>) -> Result<Faces, KindError> {
    let at = definition.versions.iter().position(|version| version.is_stored).ok_or(KindError::NotStored)?;
    let stored_version = definition.versions.get(at).ok_or(KindError::NotStored)?;
    let stored = face(definition, stored_version, None)?;
    let mut all: Vec<&'static Face> = Vec::with_capacity(definition.versions.len());
    let mut served = Vec::new();
    for (index, version) in definition.versions.iter().enumerate() {
        let face =
            if index == at { stored } else { face(definition, version, Some((stored, stored_version)))? };
        all.push(face);
        if version.is_served {
            served.push(&face.kind);
        }
    }
    let names = definition.versions.iter().map(|version| version.name.clone());
    let siblings: Arc<[_]> = names.zip(all.iter().map(|face| &face.kind)).collect();
    for (index, face) in all.iter().enumerate() {
        face.rules.set(Some(Arc::new(Live::new(definition, (index, at), &siblings))));
    }
    Ok(Faces { stored: &stored.kind, served, all })
}

/// Lets go of the definition behind those of `old` that are not among `new`.
pub fn retire(old: &Faces, new: Option<&Faces>) {
    for face in &old.all {
        let kept = new.is_some_and(|new| new.all.iter().any(|other| std::ptr::eq(*other, *face)));
        if !kept {
            face.rules.set(None);
        }
    }
}

fn face(
    definition: &Definition,
    version: &Version,
    stored: Option<(&'static Face, &Version)>,
) -> Result<&'static Face, KindError> {
    let key = Key {
        names: [
            definition.group.clone(),
            definition.kind.clone(),
            definition.list_kind.clone(),
            definition.plural.clone(),
            definition.singular.clone(),
        ],
        version: version.name.clone(),
        stored_as: stored.map(|(_, version)| version.name.clone()).unwrap_or_default(),
        short_names: definition.short_names.clone(),
        categories: definition.categories.clone(),
        columns: version
            .columns
            .iter()
            .map(|c| [c.name.clone(), c.column_type.clone(), c.format.clone(), c.description.clone()])
            .collect(),
        priorities: version.columns.iter().map(|column| column.priority).collect(),
        selectable: version.selectable.iter().map(|(label, _)| label.clone()).collect(),
        scale: version.scale.clone(),
        is_namespaced: definition.is_namespaced,
        has_status: version.has_status,
    };
    let bytes = size_of::<Face>() + size_of::<Key>() + 512 + 128 * version.columns.len();
    FACES.get(key, bytes, |key| make(key, stored.map(|(face, _)| &face.kind)))
}

fn make(key: &Key, stored_as: Option<&'static Kind>) -> Result<Box<Face>, KindError> {
    let [group, kind, list_kind, plural, singular] = &key.names;
    let facts = Facts {
        columns: columns(key)?,
        selectable: intern::texts(&key.selectable)?,
        has_status: key.has_status,
        is_namespaced: key.is_namespaced,
    };
    let rules: &'static CustomRules = Box::leak(Box::new(CustomRules::new(facts)));
    let (group, version, kind) = (intern::text(group)?, intern::text(&key.version)?, intern::text(kind)?);
    let plural = intern::text(plural)?;
    let kind = Kind {
        group,
        version,
        kind,
        plural,
        singular: intern::text(singular)?,
        short_names: intern::texts(&key.short_names)?,
        categories: intern::texts(&key.categories)?,
        namespaced: key.is_namespaced,
        type_name: CUSTOM_OBJECT,
        list_kind: intern::text(list_kind)?,
        verbs: STORED_VERBS,
        subresources: subresources(key, (group, version, kind))?,
        rules,
        storage: Some(Storage { prefix: intern::text(&format!("{group}/{plural}"))?, stored_as }),
        is_custom: true,
    };
    Ok(Box::new(Face { kind, rules }))
}

fn columns(key: &Key) -> Result<&'static [Column], Full> {
    let mut list = vec![Column::object_name()];
    for ([name, column_type, format, description], priority) in key.columns.iter().zip(&key.priorities) {
        list.push(Column {
            name: intern::text(name)?,
            column_type: intern::text(column_type)?,
            format: intern::text(format)?,
            description: intern::text(description)?,
            priority: *priority,
        });
    }
    // Part of a face, which is made once.
    Ok(Vec::leak(list))
}

fn subresources(
    key: &Key,
    (group, version, kind): (&'static str, &'static str, &'static str),
) -> Result<&'static [Subresource], Full> {
    const VERBS: &[&str] = &["get", "patch", "update"];
    let mut list = Vec::new();
    if let Some(scale) = &key.scale {
        list.push(Subresource {
            name: "scale",
            verbs: VERBS,
            group: "autoscaling",
            version: "v1",
            kind: "Scale",
            type_name: "autoscaling/v1.Scale",
            action: Action::Scale(ScalePaths {
                replicas: intern::texts(&scale.replicas)?,
                status_replicas: intern::texts(&scale.status_replicas)?,
                selector: intern::texts(&scale.selector)?,
            }),
        });
    }
    if key.has_status {
        list.push(Subresource {
            name: "status",
            verbs: VERBS,
            group,
            version,
            kind,
            type_name: CUSTOM_OBJECT,
            action: Action::Status,
        });
    }
    Ok(Vec::leak(list))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_apiserver_machinery::value;
    use mainstay_apiserver_machinery::value::Value;

    fn definition(description: &str) -> Arc<Definition> {
        let version = |name: &str, stored: bool| {
            value!({"name": name, "served": true, "storage": stored, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "description": description}}})
        };
        let crd: Value = value!({"metadata": {"name": "widgets.kinds.example"},
            "spec": {"group": "kinds.example", "scope": "Namespaced", "versions": [version("v1", false), version("v2", true)]},
            "status": {"acceptedNames": {"kind": "Widget", "listKind": "WidgetList", "plural": "widgets", "singular": "widget"}}});
        Arc::new(Definition::read(&crd).unwrap())
    }

    #[test]
    fn a_changed_schema_has_the_same_face() {
        let first = kinds_of(&definition("one")).unwrap();
        let used = intern::used_bytes();
        for round in 0..100 {
            let again = kinds_of(&definition(&format!("round {round}"))).unwrap();
            assert!(std::ptr::eq(again.stored, first.stored));
            assert!(again.served.iter().zip(&first.served).all(|(one, other)| std::ptr::eq(*one, *other)));
        }
        // Other tests of this process make faces meanwhile, but not a hundred.
        assert!(intern::used_bytes() - used < 50_000, "{}", intern::used_bytes() - used);
        let schema = first.stored.rules.structural().unwrap();
        assert_eq!(schema.description, "round 99");
        assert_eq!(first.served.first().map(|kind| kind.stored_kind().version), Some("v2"));
        retire(&first, None);
        assert!(first.stored.rules.structural().is_none());
    }
}
