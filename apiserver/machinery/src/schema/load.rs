//! Reading the table into memory that lives as long as the process.

use super::model::{Base, Container, Field, Flags, Type};
use crate::value::{Map, Value};
use std::collections::HashMap;
use std::sync::LazyLock;

const TABLE: &str = include_str!("../../schema/types.table");

/// Size of the table's text, in bytes.
pub const TABLE_BYTES: usize = TABLE.len();

/// Fields a struct may have: one bit each in a word.
const FIELDS_MAX: usize = 64;

struct Table {
    types: Vec<Type>,
    by_name: HashMap<&'static str, u16>,
    by_openapi_name: HashMap<&'static str, u16>,
}

static SCHEMA: LazyLock<Table> = LazyLock::new(|| Table::read(TABLE));

/// The name of [`custom_object`]'s type.
pub const CUSTOM_OBJECT: &str = "custom.Object";

/// What every custom resource is: `apiVersion`, `kind` and `metadata` as everywhere, and fields of any name and shape.
static CUSTOM: LazyLock<Option<Type>> = LazyLock::new(|| {
    let bare = SCHEMA.by_name.get("meta/v1.PartialObjectMetadata").and_then(|at| by_index(*at))?;
    Some(Type {
        name: CUSTOM_OBJECT,
        openapi_name: "",
        has_type_meta: true,
        is_atomic: false,
        served: true,
        is_open: true,
        ..*bare
    })
});

/// The type named `group/version.Type`, as `core/v1.Pod` or `apps/v1.Deployment`.
pub fn lookup(name: &str) -> Option<&'static Type> {
    match SCHEMA.by_name.get(name) {
        Some(at) => by_index(*at),
        None if name == CUSTOM_OBJECT => CUSTOM.as_ref(),
        None => None,
    }
}

/// The type of that OpenAPI name, as `io.k8s.api.core.v1.Pod`.
pub fn lookup_openapi(name: &str) -> Option<&'static Type> {
    by_index(*SCHEMA.by_openapi_name.get(name)?)
}

/// Every type, by name.
pub fn all() -> &'static [Type] {
    &SCHEMA.types
}

pub(super) fn by_index(index: u16) -> Option<&'static Type> {
    SCHEMA.types.get(usize::from(index))
}

/// A struct as the table states it, before references are known.
struct Draft {
    name: &'static str,
    openapi_name: &'static str,
    flags: &'static str,
    fields: Vec<Field>,
}

fn leak<T>(items: Vec<T>) -> &'static [T] {
    Vec::leak(items)
}

impl Table {
    fn read(text: &'static str) -> Self {
        let (mut drafts, aliases) = parse(text);
        for draft in &mut drafts {
            // Fields without a number stand last; the sort is stable.
            draft.fields.sort_by_key(|f| if f.number == 0 { u32::MAX } else { f.number });
            assert!(draft.fields.len() <= FIELDS_MAX, "{} has more than {FIELDS_MAX} fields", draft.name);
        }
        set_zeros(&mut drafts);
        let mut by_name: HashMap<_, _> =
            drafts.iter().enumerate().map(|(at, d)| (d.name, at as u16)).collect();
        let by_openapi_name = drafts.iter().enumerate().map(|(at, d)| (d.openapi_name, at as u16)).collect();
        for (alias, target) in aliases {
            if let Some(at) = by_name.get(target) {
                by_name.insert(alias, *at);
            }
        }
        let leaked: Vec<(Draft, &'static [Field])> = drafts
            .into_iter()
            .map(|mut draft| {
                let fields = leak(std::mem::take(&mut draft.fields));
                (draft, fields)
            })
            .collect();
        let with_defaults = with_defaults(&leaked);
        let types = leaked
            .iter()
            .map(|(draft, fields)| {
                let defaulted = fields.iter().filter(|field| is_defaulted(field, &with_defaults)).collect();
                Type { defaulted: leak(defaulted), ..finish(draft, fields, &leaked) }
            })
            .collect();
        Self { types, by_name, by_openapi_name }
    }
}

fn finish(draft: &Draft, fields: &'static [Field], all: &[(Draft, &'static [Field])]) -> Type {
    let mut by_name = Vec::new();
    collect_names(fields, all, &mut by_name);
    by_name.sort_by_key(|(name, _)| *name);
    let zeros = by_name.iter().map(|(_, field)| *field).filter(|field| field.zero.is_some()).collect();
    let top = fields.iter().map(|f| f.number).max().unwrap_or_default() as usize;
    let mut by_number = vec![0_u8; top + 1];
    let mut always = 0_u64;
    for (at, field) in fields.iter().enumerate() {
        if field.number > 0
            && let Some(slot) = by_number.get_mut(field.number as usize)
        {
            *slot = at as u8 + 1;
        }
        if field.is_always_written() && field.number > 0 {
            always |= 1 << at;
        }
    }
    Type {
        name: draft.name,
        openapi_name: draft.openapi_name,
        has_type_meta: draft.flags.contains('m'),
        is_atomic: draft.flags.contains('a'),
        served: draft.flags.contains('s'),
        is_open: false,
        fields,
        by_name: leak(by_name),
        zeros: leak(zeros),
        by_number: leak(by_number),
        defaulted: &[],
        always,
    }
}

/// Which structs hold a default, themselves or in a struct within; quantities count, since they are rounded.
fn with_defaults(all: &[(Draft, &'static [Field])]) -> Vec<bool> {
    let mut has = vec![false; all.len()];
    loop {
        let next: Vec<bool> =
            all.iter().map(|(_, fields)| fields.iter().any(|field| is_defaulted(field, &has))).collect();
        if next == has {
            return has;
        }
        has = next;
    }
}

/// Whether a field has a default of its own or, as far as is known, within.
fn is_defaulted(field: &Field, has: &[bool]) -> bool {
    field.default.is_some()
        || field.code_default.is_some()
        || (field.base == Base::Quantity && field.container == Container::Map)
        || field.type_index.is_some_and(|at| has.get(usize::from(at)) == Some(&true))
}

/// Names of fields as they stand in JSON, those of inline structs among them.
fn collect_names(
    fields: &'static [Field],
    all: &[(Draft, &'static [Field])],
    out: &mut Vec<(&'static str, &'static Field)>,
) {
    for field in fields {
        if !field.is_inline() {
            out.push((field.name, field));
        } else if let Some((_, inner)) = field.type_index.and_then(|at| all.get(usize::from(at))) {
            collect_names(inner, all, out);
        }
    }
}

/// Sets what upstream writes for each absent field.
fn set_zeros(drafts: &mut [Draft]) {
    let mut structs: Vec<Option<Map>> = vec![None; drafts.len()];
    for at in 0..drafts.len() {
        zero_members(at, drafts, &mut structs);
    }
    for draft in drafts {
        for field in &mut draft.fields {
            let Some(zero) = zero_value(field, &structs) else { continue };
            field.flags.0 |= Flags::ALWAYS;
            let mut text = Vec::new();
            crate::json::encode(&zero, &mut text);
            let text = String::from_utf8_lossy(&text).into_owned().leak();
            field.zero_text = if field.is_inline() {
                text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or_default()
            } else {
                text
            };
            field.zero = without_nulls(zero);
        }
    }
}

fn without_nulls(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Map(map) => {
            let members = map.into_iter().filter_map(|(key, value)| Some((key, without_nulls(value)?)));
            Some(Value::Map(Map::from_pairs(members.collect())))
        }
        other => Some(other),
    }
}

/// The members of a struct's zero value; Go's structs do not contain themselves, so this ends.
fn zero_members(at: usize, drafts: &[Draft], structs: &mut Vec<Option<Map>>) {
    let (Some(None), Some(draft)) = (structs.get(at), drafts.get(at)) else { return };
    let mut pairs = Vec::new();
    for field in &draft.fields {
        if let Some(inner) = field.type_index
            && !field.is_pointer()
            && field.container == Container::One
        {
            zero_members(inner.into(), drafts, structs);
        }
        match zero_value(field, structs) {
            Some(Value::Map(members)) if field.is_inline() => pairs.extend(members),
            Some(zero) => pairs.push((smol_str::SmolStr::new_static(field.name), zero)),
            None => {}
        }
    }
    if let Some(slot) = structs.get_mut(at) {
        *slot = Some(Map::from_pairs(pairs));
    }
}

fn zero_value(field: &Field, structs: &[Option<Map>]) -> Option<Value> {
    if field.flags.0 & Flags::OMIT_ZERO != 0 {
        return None;
    }
    if field.container == Container::One && !field.is_pointer() {
        let zero = match field.base {
            Base::Struct => {
                let members = field.type_index.and_then(|at| structs.get(usize::from(at)).cloned().flatten());
                Some(Value::Map(members.unwrap_or_default()))
            }
            Base::Time | Base::MicroTime | Base::Raw => Some(Value::Null),
            Base::Quantity => Some(Value::from("0")),
            Base::IntOrString => Some(Value::Int(0)),
            Base::Duration => Some(Value::from("0s")),
            _ => None,
        };
        if zero.is_some() {
            return zero;
        }
    }
    if field.omits_empty() {
        return None;
    }
    Some(match (field.container, field.is_pointer(), field.base) {
        (Container::One, false, Base::Str) => Value::from(""),
        (Container::One, false, Base::Bool) => Value::Bool(false),
        (Container::One, false, Base::Int32 | Base::Int64 | Base::Float) => Value::Int(0),
        _ => Value::Null,
    })
}

/// Structs and aliases of the table. The table is our own and checked by tests, so a malformed line is a defect.
fn parse(text: &'static str) -> (Vec<Draft>, Vec<(&'static str, &'static str)>) {
    let (mut drafts, mut aliases) = (Vec::<Draft>::new(), Vec::new());
    for line in text.lines() {
        let mut cells = line.split('\t');
        let tag = cells.next().unwrap_or_default();
        let mut cell = || cells.next().unwrap_or_default();
        match tag {
            "T" => {
                let (name, openapi_name, flags) = (cell(), cell(), cell());
                drafts.push(Draft { name, openapi_name, flags, fields: Vec::new() });
            }
            "F" => {
                assert!(!drafts.is_empty(), "the schema table has a field before its type: {line}");
                if let Some(draft) = drafts.last_mut() {
                    draft.fields.push(parse_field(line));
                }
            }
            "A" => aliases.push((cell(), cell())),
            _ => assert!(tag.starts_with('#'), "the schema table has a line of unknown kind: {line}"),
        }
    }
    (drafts, aliases)
}

fn parse_field(line: &'static str) -> Field {
    let mut cells = line.split('\t').skip(1);
    let mut cell = || cells.next().unwrap_or_default();
    let (name, number, shape, type_index, flags) = (cell(), cell(), cell(), cell(), cell());
    let mut bits = if shape.contains('w') { Flags::WRAPPED } else { 0 };
    for flag in flags.chars() {
        bits |= match flag {
            'p' => Flags::POINTER,
            'e' => Flags::OMIT_EMPTY,
            'z' => Flags::OMIT_ZERO,
            'i' => Flags::INLINE,
            'o' => Flags::OPTIONAL,
            'r' => Flags::REQUIRED,
            _ => 0,
        };
    }
    let mut field = Field {
        name,
        number: number.parse().unwrap_or_default(),
        container: match shape.as_bytes().first() {
            Some(b'L') => Container::List,
            Some(b'M') => Container::Map,
            _ => Container::One,
        },
        base: base(shape),
        flags: Flags(bits),
        type_index: type_index.parse().ok(),
        list_type: "",
        list_map_keys: &[],
        map_type: "",
        struct_type: "",
        patch_strategy: &[],
        patch_merge_key: "",
        default: None,
        code_default: None,
        go_type_name: "",
        enum_values: &[],
        zero: None,
        zero_text: "",
        key_text: format!(",\"{name}\":").leak(),
    };
    for extra in cells {
        let (key, value) = extra.split_once('=').unwrap_or((extra, ""));
        match key {
            "lt" => field.list_type = value,
            "lk" => field.list_map_keys = leak(value.split('|').collect()),
            "mt" => field.map_type = value,
            "st" => field.struct_type = value,
            "ps" => field.patch_strategy = leak(value.split(',').collect()),
            "pk" => field.patch_merge_key = value,
            "df" => field.default = crate::json::decode_free(value.as_bytes()).ok(),
            "cd" => field.code_default = crate::json::decode_free(value.as_bytes()).ok(),
            "gt" => field.go_type_name = value,
            "en" => field.enum_values = leak(value.split('|').collect()),
            _ => {}
        }
    }
    field
}

fn base(shape: &str) -> Base {
    let code = shape.chars().last().unwrap_or_default();
    let known = match code {
        'B' => Base::Bool,
        'i' => Base::Int32,
        'I' => Base::Int64,
        'd' => Base::Float,
        's' => Base::Str,
        'b' => Base::Bytes,
        't' => Base::Time,
        'm' => Base::MicroTime,
        'q' => Base::Quantity,
        'x' => Base::IntOrString,
        'D' => Base::Duration,
        'R' => Base::Raw,
        'S' => Base::Struct,
        '2' => Base::SchemaOrBool,
        '3' => Base::SchemaOrArray,
        '4' => Base::SchemaOrStrings,
        _ => Base::Any,
    };
    assert!(known != Base::Any || code == 'T', "the schema table has an unknown shape: {shape}");
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_struct_and_alias_is_there() {
        assert_eq!(all().len(), 1303);
        let pod = lookup("core/v1.Pod").unwrap();
        assert!(pod.has_type_meta && pod.served);
        assert_eq!(pod.go_name(), "v1.Pod");
        assert_eq!(pod.fields().iter().map(|f| f.name).collect::<Vec<_>>(), ["metadata", "spec", "status"]);
        assert!(lookup("admissionregistration.k8s.io/v1beta1.Rule").is_some());
        assert!(lookup("core/v1.Nonsense").is_none());
        assert_eq!(lookup_openapi("io.k8s.api.core.v1.Pod"), Some(pod));
    }

    #[test]
    fn merge_facts_and_zeros_are_known() {
        let pod = lookup("core/v1.Pod").unwrap();
        let ports = pod.field_at(&["spec", "containers", "ports"]).unwrap();
        assert_eq!(
            (ports.patch_merge_key, ports.list_map_keys),
            ("containerPort", ["containerPort", "protocol"].as_slice())
        );
        assert_eq!(ports.go_type(), "[]v1.ContainerPort");
        let container = lookup("core/v1.Container").unwrap();
        assert_eq!(container.field("resources").unwrap().zero_text, "{}");
        assert_eq!(container.field("name").unwrap().zero_text, r#""""#);
        assert_eq!(pod.field_at(&["metadata", "creationTimestamp"]).unwrap().zero, None);
        // An inline struct's fields stand among the parent's.
        assert!(lookup("core/v1.Volume").unwrap().field("hostPath").is_some());
        assert!(lookup("core/v1.Volume").unwrap().field("").is_none());
    }
}
