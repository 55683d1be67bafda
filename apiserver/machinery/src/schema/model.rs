//! What the schema says of a type and of a field.

use super::load;
use crate::value::Value;

/// One field or many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// The field holds one element.
    One,
    /// The field holds a JSON array of elements.
    List,
    /// The field holds a JSON object of elements by any key.
    Map,
}

/// What one element is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// `true` or `false`.
    Bool,
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits.
    Int64,
    /// Any number.
    Float,
    /// A string.
    Str,
    /// Bytes: base64 in JSON.
    Bytes,
    /// A time in whole seconds: RFC 3339 in JSON.
    Time,
    /// A time in microseconds: RFC 3339 in JSON.
    MicroTime,
    /// A resource amount.
    Quantity,
    /// A whole number or a string.
    IntOrString,
    /// A Go duration: `1m30s` in JSON.
    Duration,
    /// Any JSON, held as bytes in protobuf (`RawExtension`, `JSON`, `FieldsV1`).
    Raw,
    /// Any JSON; has no protobuf form.
    Any,
    /// A struct: see [`Field::ty`].
    Struct,
    /// A JSON schema or a bool.
    SchemaOrBool,
    /// A JSON schema or an array of them.
    SchemaOrArray,
    /// A JSON schema or an array of strings.
    SchemaOrStrings,
}

/// Flags of a field, one bit each.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flags(pub(super) u8);

impl Flags {
    pub(super) const POINTER: u8 = 1;
    pub(super) const OMIT_EMPTY: u8 = 1 << 1;
    pub(super) const OMIT_ZERO: u8 = 1 << 2;
    pub(super) const INLINE: u8 = 1 << 3;
    pub(super) const OPTIONAL: u8 = 1 << 4;
    pub(super) const REQUIRED: u8 = 1 << 5;
    pub(super) const WRAPPED: u8 = 1 << 6;
    pub(super) const ALWAYS: u8 = 1 << 7;
}

/// One field of a struct.
#[derive(Debug)]
pub struct Field {
    /// The name in JSON; empty for an inline struct.
    pub name: &'static str,
    /// The number in protobuf; 0 when the field has none.
    pub number: u32,
    /// One, list or map.
    pub container: Container,
    /// What an element is.
    pub base: Base,
    pub(super) flags: Flags,
    pub(super) type_index: Option<u16>,
    /// `x-kubernetes-list-type`: `atomic`, `set`, `map`, or empty.
    pub list_type: &'static str,
    /// `x-kubernetes-list-map-keys`.
    pub list_map_keys: &'static [&'static str],
    /// `x-kubernetes-map-type`: `atomic`, `granular`, or empty.
    pub map_type: &'static str,
    /// The struct type marker: `atomic`, `granular`, or empty.
    pub struct_type: &'static str,
    /// `x-kubernetes-patch-strategy`, split at commas.
    pub patch_strategy: &'static [&'static str],
    /// `x-kubernetes-patch-merge-key`; empty when there is none.
    pub patch_merge_key: &'static str,
    /// The default marker's value.
    pub default: Option<Value>,
    /// What upstream's code sets when the field is absent, whatever else the object holds.
    pub code_default: Option<Value>,
    /// Go's name of a named scalar type, as `v1.Protocol`; else empty.
    pub go_type_name: &'static str,
    /// The values of an enum; empty when any value is allowed.
    pub enum_values: &'static [&'static str],
    /// What stands for the field in a canonical tree when it is absent (Go's zero value, but never a null); none when
    /// nothing does.
    pub zero: Option<Value>,
    /// What upstream writes in JSON when the field is absent; for an inline struct its members without braces.
    pub(crate) zero_text: &'static str,
    /// The name as it stands after another member in JSON: `,"name":`.
    pub(crate) key_text: &'static str,
}

impl Field {
    const fn has(&self, flag: u8) -> bool {
        self.flags.0 & flag != 0
    }

    /// Whether absent and zero differ in Go: a pointer.
    pub const fn is_pointer(&self) -> bool {
        self.has(Flags::POINTER)
    }

    /// Whether JSON leaves the field out when it is empty.
    pub const fn omits_empty(&self) -> bool {
        self.has(Flags::OMIT_EMPTY)
    }

    /// Whether upstream writes the field in JSON even when it is absent.
    pub const fn is_always_written(&self) -> bool {
        self.has(Flags::ALWAYS)
    }

    /// Whether a canonical tree holds this value: empty lists and maps, and zeros that JSON leaves out, are absent.
    pub(crate) fn keeps(&self, value: &Value) -> bool {
        match (self.container, value) {
            (_, Value::Null) => false,
            (Container::One, Value::List(_) | Value::Map(_)) => true,
            (Container::One, scalar) => self.is_always_written() || self.is_pointer() || !scalar.is_empty(),
            (_, many) => self.is_wrapped() || !many.is_empty(),
        }
    }

    /// Whether the struct's fields stand among the parent's in JSON, and in a message of their own in protobuf.
    pub const fn is_inline(&self) -> bool {
        self.has(Flags::INLINE)
    }

    /// Whether a list is a message of its own in protobuf, with its items as field 1.
    pub const fn is_wrapped(&self) -> bool {
        self.has(Flags::WRAPPED)
    }

    /// Whether clients must give the field, as the OpenAPI document says.
    pub const fn is_required(&self) -> bool {
        self.has(Flags::REQUIRED)
            || !(self.has(Flags::OPTIONAL) || self.has(Flags::OMIT_EMPTY | Flags::OMIT_ZERO))
    }

    /// The struct that an element is.
    pub fn ty(&self) -> Option<&'static Type> {
        load::by_index(self.type_index?)
    }

    /// Whether strategic merge merges the field instead of replacing it.
    pub fn patch_merges(&self) -> bool {
        self.patch_strategy.contains(&"merge")
    }

    /// Whether strategic merge keeps only the keys named by `$retainKeys`.
    pub fn patch_retains_keys(&self) -> bool {
        self.patch_strategy.contains(&"retainKeys")
    }

    /// Go's name for the element's type, as decoding errors tell it.
    pub fn go_element_type(&self) -> String {
        if !self.go_type_name.is_empty() {
            return self.go_type_name.to_owned();
        }
        match self.base {
            Base::Bool => "bool".to_owned(),
            Base::Int32 => "int32".to_owned(),
            Base::Int64 => "int64".to_owned(),
            Base::Float => "float64".to_owned(),
            Base::Str | Base::Time | Base::MicroTime | Base::Duration => "string".to_owned(),
            Base::Bytes => "[]uint8".to_owned(),
            Base::Quantity => "resource.Quantity".to_owned(),
            Base::IntOrString => "intstr.IntOrString".to_owned(),
            Base::Raw | Base::Any => "interface {}".to_owned(),
            Base::Struct => self.ty().map_or_else(String::new, Type::go_name),
            Base::SchemaOrBool => "v1.JSONSchemaPropsOrBool".to_owned(),
            Base::SchemaOrArray => "v1.JSONSchemaPropsOrArray".to_owned(),
            Base::SchemaOrStrings => "v1.JSONSchemaPropsOrStringArray".to_owned(),
        }
    }

    /// Go's name for the field's type.
    pub fn go_type(&self) -> String {
        let element = self.go_element_type();
        match (self.container, self.is_wrapped()) {
            (Container::One, _) => element,
            (Container::List, _) => format!("[]{element}"),
            (Container::Map, false) => format!("map[string]{element}"),
            (Container::Map, true) => format!("map[string][]{element}"),
        }
    }
}

/// One struct type.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own about the type")]
pub struct Type {
    /// `group/version.Type`; `core` is the empty group.
    pub name: &'static str,
    /// The name in OpenAPI v2, as `io.k8s.api.core.v1.Pod`.
    pub openapi_name: &'static str,
    /// Whether it is a kind of its own: `apiVersion` and `kind` stand among its fields in JSON.
    pub has_type_meta: bool,
    /// Whether the struct is owned as a whole (`x-kubernetes-map-type: atomic`).
    pub is_atomic: bool,
    /// Whether upstream serves it (1.36 or 1.37).
    pub served: bool,
    /// Whether fields beyond the ones named here are kept as they are: custom resources, whose own schema says more.
    pub is_open: bool,
    pub(super) fields: &'static [Field],
    pub(super) by_name: &'static [(&'static str, &'static Field)],
    /// Fields of which something stands in a canonical tree when they are absent, by name.
    pub(super) zeros: &'static [&'static Field],
    /// For each number, one more than the index of its field; 0 for none.
    pub(super) by_number: &'static [u8],
    /// Fields that have a default, or hold a struct that has one.
    pub(super) defaulted: &'static [&'static Field],
    /// Bit by index of the fields that are written when absent.
    pub(crate) always: u64,
}

impl Type {
    /// The struct's own fields by ascending protobuf number, inline structs as one field each.
    pub fn fields(&self) -> &'static [Field] {
        self.fields
    }

    /// All fields by name, those of inline structs among them; without `apiVersion` and `kind` of a kind.
    pub fn json_fields(&self) -> impl Iterator<Item = &'static Field> {
        self.by_name.iter().map(|(_, field)| *field)
    }

    /// The field of that name in JSON, be it of an inline struct.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        let at = self.by_name.binary_search_by(|(n, _)| (*n).cmp(name)).ok()?;
        self.by_name.get(at).map(|(_, field)| *field)
    }

    /// The field at the end of a path of names (lists and maps are stepped through).
    pub fn field_at(&self, path: &[&str]) -> Option<&'static Field> {
        let (first, rest) = path.split_first()?;
        let field = self.field(first)?;
        if rest.is_empty() { Some(field) } else { field.ty()?.field_at(rest) }
    }

    /// Fields of which something stands in a canonical tree when they are absent, by name.
    pub(crate) const fn zeros(&self) -> &'static [&'static Field] {
        self.zeros
    }

    /// Puts into `object` what stands in a canonical tree for the kind's own fields that are absent.
    pub fn fill_zeros(&self, object: &mut Value) {
        let Value::Map(map) = object else { return };
        for field in self.zeros {
            if let Some(zero) = &field.zero {
                map.get_or_insert(field.name, || zero.clone());
            }
        }
    }

    /// The field of that protobuf number, with its index.
    pub(crate) fn numbered(&self, number: u32) -> Option<(usize, &'static Field)> {
        let at = usize::from(*self.by_number.get(number as usize)?).checked_sub(1)?;
        self.fields.get(at).map(|field| (at, field))
    }

    /// Whether defaults can be set in this struct or in one that it holds.
    pub const fn has_defaults(&self) -> bool {
        !self.defaulted.is_empty()
    }

    /// Fields that have a default, or hold a struct that has one.
    pub(crate) const fn defaulted(&self) -> &'static [&'static Field] {
        self.defaulted
    }

    /// The bare type name, as `Pod`.
    pub fn short_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }

    /// Go's name, as `v1.Pod`.
    pub fn go_name(&self) -> String {
        let (package, name) = self.name.rsplit_once('.').unwrap_or(("", self.name));
        format!("{}.{name}", package.rsplit('/').next().unwrap_or(package))
    }
}

impl PartialEq for Type {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Type {}
