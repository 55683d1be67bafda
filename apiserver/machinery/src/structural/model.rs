//! The tree of a structural schema.

use crate::value::Value;
use smol_str::SmolStr;

/// `type` of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SchemaType {
    /// None is named: anything, or an int-or-string.
    #[default]
    Any,
    /// `object`.
    Object,
    /// `array`.
    Array,
    /// `string`.
    String,
    /// `integer`.
    Integer,
    /// `number`.
    Number,
    /// `boolean`.
    Boolean,
}

impl SchemaType {
    /// The word in a schema; empty for [`SchemaType::Any`].
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }

    /// The type that a word names.
    pub fn of(word: &str) -> Option<Self> {
        let all =
            [Self::Any, Self::Object, Self::Array, Self::String, Self::Integer, Self::Number, Self::Boolean];
        all.into_iter().find(|one| one.as_str() == word)
    }
}

/// `x-kubernetes-list-type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListType {
    /// Owned and replaced as a whole; also when nothing is said.
    #[default]
    Atomic,
    /// Each value occurs once.
    Set,
    /// Items are known by their keys.
    Map,
}

/// `x-kubernetes-map-type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MapType {
    /// Members are owned one by one; also when nothing is said.
    #[default]
    Granular,
    /// Owned and replaced as a whole.
    Atomic,
}

/// `additionalProperties`.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Additional {
    /// Not said: members beyond the properties are unknown.
    #[default]
    None,
    /// `true` or `false`.
    Bool(bool),
    /// The schema of every member.
    Schema(Box<Structural>),
}

/// One entry of `x-kubernetes-validations`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuleText {
    /// The CEL expression that must hold.
    pub rule: SmolStr,
    /// What is said when it does not.
    pub message: SmolStr,
    /// A CEL expression that makes the message.
    pub message_expression: SmolStr,
    /// `FieldValueInvalid` and its kin; empty for the default.
    pub reason: SmolStr,
    /// The field that the error names, below the rule's own.
    pub field_path: SmolStr,
    /// Whether the rule runs without an old value, with `oldSelf` as an optional; `None` when not said.
    pub optional_old_self: Option<bool>,
}

/// Restrictions of values. Schemas below the logical words hold only these, properties and items.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Checks {
    /// `format`.
    pub format: SmolStr,
    /// `maximum`.
    pub maximum: Option<f64>,
    /// `exclusiveMaximum`.
    pub exclusive_maximum: bool,
    /// `minimum`.
    pub minimum: Option<f64>,
    /// `exclusiveMinimum`.
    pub exclusive_minimum: bool,
    /// `multipleOf`.
    pub multiple_of: Option<f64>,
    /// `maxLength`, in characters.
    pub max_length: Option<i64>,
    /// `minLength`, in characters.
    pub min_length: Option<i64>,
    /// `pattern`.
    pub pattern: SmolStr,
    /// `maxItems`.
    pub max_items: Option<i64>,
    /// `minItems`.
    pub min_items: Option<i64>,
    /// `maxProperties`.
    pub max_properties: Option<i64>,
    /// `minProperties`.
    pub min_properties: Option<i64>,
    /// `uniqueItems`.
    pub unique_items: bool,
    /// `required`.
    pub required: Vec<SmolStr>,
    /// `enum`.
    pub allowed: Vec<Value>,
    /// `allOf`.
    pub all_of: Vec<Structural>,
    /// `anyOf`.
    pub any_of: Vec<Structural>,
    /// `oneOf`.
    pub one_of: Vec<Structural>,
    /// `not`.
    pub not: Option<Box<Structural>>,
}

/// A schema.
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a word of the schema")]
pub struct Structural {
    /// `type`.
    pub schema_type: SchemaType,
    /// `title`.
    pub title: SmolStr,
    /// `description`.
    pub description: SmolStr,
    /// `nullable`.
    pub nullable: bool,
    /// `default`.
    pub default: Option<Value>,
    /// `properties`, by name.
    pub properties: Vec<(SmolStr, Structural)>,
    /// `additionalProperties`.
    pub additional: Additional,
    /// `items`.
    pub items: Option<Box<Structural>>,
    /// `x-kubernetes-preserve-unknown-fields`.
    pub preserves_unknown: bool,
    /// `x-kubernetes-embedded-resource`.
    pub is_embedded: bool,
    /// `x-kubernetes-int-or-string`.
    pub is_int_or_string: bool,
    /// `x-kubernetes-list-type`; `None` when not said.
    pub list_type: Option<ListType>,
    /// `x-kubernetes-list-map-keys`.
    pub list_map_keys: Vec<SmolStr>,
    /// `x-kubernetes-map-type`; `None` when not said.
    pub map_type: Option<MapType>,
    /// `x-kubernetes-validations`.
    pub rules: Vec<RuleText>,
    /// Restrictions of values.
    pub checks: Checks,
    /// Whether a default stands here or below; set by [`super::parse`].
    pub has_defaults: bool,
    /// Whether validation rules stand here or below; set by [`super::parse`].
    pub has_rules: bool,
}

impl Structural {
    /// The property of that name.
    pub fn property(&self, name: &str) -> Option<&Structural> {
        let at = self.properties.binary_search_by(|(key, _)| key.as_str().cmp(name)).ok()?;
        self.properties.get(at).map(|(_, schema)| schema)
    }

    /// The schema of a member: a property, or what holds for all members.
    pub fn member(&self, name: &str) -> Option<&Structural> {
        self.property(name).or(match &self.additional {
            Additional::Schema(schema) => Some(schema),
            Additional::None | Additional::Bool(_) => None,
        })
    }

    /// How the list is owned and merged.
    pub fn list_type(&self) -> ListType {
        self.list_type.unwrap_or_default()
    }

    /// How the map is owned and merged.
    pub fn map_type(&self) -> MapType {
        self.map_type.unwrap_or_default()
    }

    /// Whether `null` stands here although it may not.
    pub fn forbids_null(&self, value: &Value) -> bool {
        value.is_null() && !self.nullable
    }
}
