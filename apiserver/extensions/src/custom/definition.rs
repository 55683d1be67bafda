//! A CustomResourceDefinition as its kinds need it: read once, with schemas, patterns and paths prepared.

use super::column::PrinterColumn;
use super::json_path::{JsonPath, simple_path};
use super::rule_tree::RuleTree;
use super::values::Patterns;
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::structural::{self, SchemaError, Structural};
use mainstay_apiserver_machinery::value::Value;
use smol_str::{SmolStr, format_smolstr};
use std::sync::Arc;

/// Why a stored definition cannot be served. Validation refuses such definitions; one from elsewhere may still be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// A schema that is not structural.
    #[error("the schema of version {version}")]
    Schema {
        /// The version.
        version: SmolStr,
        /// What is wrong.
        #[source]
        source: SchemaError,
    },
    /// A pattern that does not compile.
    #[error("the pattern {pattern:?} in the schema of version {version}: {reason}")]
    Pattern {
        /// The version.
        version: SmolStr,
        /// The pattern.
        pattern: SmolStr,
        /// What is wrong.
        reason: String,
    },
    /// No version is marked as the stored one.
    #[error("no version is stored")]
    NotStored,
}

/// Where a version keeps what a Scale shows: names from the object down.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scale {
    /// Wanted replicas.
    pub replicas: Vec<SmolStr>,
    /// Observed replicas.
    pub status_replicas: Vec<SmolStr>,
    /// The selector as text; empty when there is none.
    pub selector: Vec<SmolStr>,
}

/// One version of a definition.
#[derive(Debug)]
pub struct Version {
    /// Its name.
    pub name: SmolStr,
    /// Whether clients may use it.
    pub is_served: bool,
    /// Whether objects are stored in it.
    pub is_stored: bool,
    /// What clients are warned of when they write it.
    pub deprecation: Option<String>,
    /// The schema.
    pub schema: Arc<Structural>,
    /// The schema's patterns.
    pub patterns: Patterns,
    /// The schema's validation rules; none where it has none.
    pub rules: Option<RuleTree>,
    /// The schema as the definition has it, for OpenAPI.
    pub source: Value,
    /// Whether `status` is a subresource.
    pub has_status: bool,
    /// The scale subresource.
    pub scale: Option<Scale>,
    /// Columns after the name.
    pub columns: Vec<PrinterColumn>,
    /// Labels of fields that select, and where the fields are.
    pub selectable: Vec<(SmolStr, Vec<SmolStr>)>,
}

/// A definition whose names are accepted.
#[derive(Debug)]
pub struct Definition {
    /// `metadata.name`.
    pub name: SmolStr,
    /// The group.
    pub group: SmolStr,
    /// Resource name.
    pub plural: SmolStr,
    /// Singular.
    pub singular: SmolStr,
    /// Kind.
    pub kind: SmolStr,
    /// Kind of a list.
    pub list_kind: SmolStr,
    /// Short names.
    pub short_names: Vec<SmolStr>,
    /// Categories.
    pub categories: Vec<SmolStr>,
    /// Whether objects live in a namespace.
    pub is_namespaced: bool,
    /// Every version, in the definition's order.
    pub versions: Vec<Version>,
    /// `spec.conversion.webhook`, where a webhook converts between the versions.
    pub converter: Option<Arc<Value>>,
}

impl Definition {
    /// Reads a stored definition; names are those that were accepted.
    ///
    /// # Errors
    /// [`DefinitionError`].
    pub fn read(crd: &Value) -> Result<Self, DefinitionError> {
        let names = crd.path(&["status", "acceptedNames"]).unwrap_or(&Value::Null);
        let group = text(crd.path(&["spec", "group"]));
        let kind = text(names.get("kind"));
        let versions: Vec<Version> = crd
            .path_list(&["spec", "versions"])
            .iter()
            .map(|tree| version(tree, &group, &kind))
            .collect::<Result<_, _>>()?;
        if !versions.iter().any(|version| version.is_stored) {
            return Err(DefinitionError::NotStored);
        }
        let is_webhook = crd.path_str(&["spec", "conversion", "strategy"]) == Some("Webhook");
        let converter = crd.path(&["spec", "conversion", "webhook"]).filter(|_| is_webhook).cloned();
        Ok(Self {
            name: Meta(crd).name().into(),
            group,
            kind,
            plural: text(names.get("plural")),
            singular: text(names.get("singular")),
            list_kind: text(names.get("listKind")),
            short_names: texts(names.path_list(&["shortNames"])),
            categories: texts(names.path_list(&["categories"])),
            is_namespaced: crd.path_str(&["spec", "scope"]) == Some("Namespaced"),
            versions,
            converter: converter.map(Arc::new),
        })
    }
}

fn text(value: Option<&Value>) -> SmolStr {
    value.and_then(Value::as_smol).cloned().unwrap_or_default()
}

fn texts(list: &[Value]) -> Vec<SmolStr> {
    list.iter().filter_map(|one| one.as_smol().cloned()).collect()
}

fn version(tree: &Value, group: &str, kind: &str) -> Result<Version, DefinitionError> {
    let name = text(tree.get("name"));
    // A version without a schema keeps everything: only definitions of older servers have such.
    let free = || mainstay_apiserver_machinery::value!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let source = tree.path(&["schema", "openAPIV3Schema"]).cloned().unwrap_or_else(free);
    let schema = structural::parse(&source)
        .map_err(|source| DefinitionError::Schema { version: name.clone(), source })?;
    let patterns = Patterns::of(&schema).map_err(|(pattern, reason)| DefinitionError::Pattern {
        version: name.clone(),
        pattern,
        reason,
    })?;
    let deprecated = tree.path_bool(&["deprecated"]).unwrap_or_default();
    let deprecation = deprecated.then(|| match tree.path_str(&["deprecationWarning"]) {
        Some(warning) => warning.to_owned(),
        None => format!("{group}/{name} {kind} is deprecated"),
    });
    Ok(Version {
        is_served: tree.path_bool(&["served"]).unwrap_or_default(),
        is_stored: tree.path_bool(&["storage"]).unwrap_or_default(),
        deprecation,
        rules: RuleTree::of(&schema, true),
        schema: Arc::new(schema),
        patterns,
        source,
        has_status: tree.path(&["subresources", "status"]).is_some(),
        scale: tree.path(&["subresources", "scale"]).map(scale),
        columns: columns(tree.path_list(&["additionalPrinterColumns"])),
        selectable: tree.path_list(&["selectableFields"]).iter().map(selectable).collect(),
        name,
    })
}

fn scale(tree: &Value) -> Scale {
    let path = |name: &str| simple_path(tree.path_str(&[name]).unwrap_or_default());
    Scale {
        replicas: path("specReplicasPath"),
        status_replicas: path("statusReplicasPath"),
        selector: path("labelSelectorPath"),
    }
}

fn selectable(tree: &Value) -> (SmolStr, Vec<SmolStr>) {
    let path = tree.path_str(&["jsonPath"]).unwrap_or_default();
    (SmolStr::new(path.trim_start_matches('.')), simple_path(path))
}

fn columns(list: &[Value]) -> Vec<PrinterColumn> {
    if list.is_empty() {
        return vec![PrinterColumn {
            name: SmolStr::new_static("Age"),
            column_type: SmolStr::new_static("date"),
            format: SmolStr::default(),
            description: SmolStr::new_static("Time at which the server created the object."),
            priority: 0,
            path: JsonPath::parse(".metadata.creationTimestamp").ok(),
        }];
    }
    let column = |tree: &Value| {
        let path = tree.path_str(&["jsonPath"]).unwrap_or_default();
        let description = match tree.path_str(&["description"]) {
            Some(description) if !description.is_empty() => SmolStr::new(description),
            _ => format_smolstr!("Custom resource definition column (in JSONPath format): {path}"),
        };
        PrinterColumn {
            name: text(tree.get("name")),
            column_type: text(tree.get("type")),
            format: text(tree.get("format")),
            description,
            priority: tree.path_i64(&["priority"]).and_then(|p| i32::try_from(p).ok()).unwrap_or_default(),
            path: JsonPath::parse(path).ok(),
        }
    };
    list.iter().map(column).collect()
}
