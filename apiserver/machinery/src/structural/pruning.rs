//! Dropping what a schema does not know.

use super::model::{Additional, Structural};
use crate::value::Value;

/// Paths told of one object; more say nothing new.
const TOLD_MAX: usize = 100;

/// Members of every object that is a resource; the schema does not restrict them.
const META: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// What pruning finds, with the path to where it is.
struct Finder<'a> {
    path: String,
    unknown: &'a mut Vec<String>,
}

/// Drops from a whole object what `schema` does not know, and adds one text for each field dropped, in upstream's words.
pub fn prune_root(object: &mut Value, schema: &Structural, unknown: &mut Vec<String>) {
    Finder { path: String::new(), unknown }.known(object, Some(schema), true);
}

/// The same for a value inside an object, without telling what was dropped. Answers whether anything was.
pub fn prune(value: &mut Value, schema: &Structural) -> bool {
    let mut unknown = Vec::new();
    Finder { path: String::new(), unknown: &mut unknown }.known(value, Some(schema), schema.is_embedded);
    !unknown.is_empty()
}

impl Finder<'_> {
    fn known(&mut self, value: &mut Value, schema: Option<&Structural>, is_resource: bool) {
        match value {
            Value::Map(map) => {
                let preserves = schema.is_some_and(|schema| schema.preserves_unknown);
                map.retain(|key, member| {
                    if is_resource && META.contains(&key) {
                        return true;
                    }
                    let length = self.path.len();
                    if length > 0 {
                        self.path.push('.');
                    }
                    self.path.push_str(key);
                    let kept = self.member(key, member, schema, preserves);
                    self.path.truncate(length);
                    kept
                });
            }
            Value::List(items) => {
                let schema = schema.filter(|schema| !schema.preserves_unknown || schema.items.is_some());
                let within = schema.and_then(|schema| schema.items.as_deref());
                for (at, item) in items.iter_mut().enumerate() {
                    let length = self.path.len();
                    self.path.extend(["[", &at.to_string(), "]"]);
                    self.known(item, within, within.is_some_and(|schema| schema.is_embedded));
                    self.path.truncate(length);
                }
            }
            _ => {}
        }
    }

    /// Whether a member stays.
    fn member(
        &mut self,
        key: &str,
        member: &mut Value,
        schema: Option<&Structural>,
        preserves: bool,
    ) -> bool {
        let own = schema.and_then(|schema| schema.property(key));
        let additional = schema.map(|schema| &schema.additional);
        match (own, additional) {
            (Some(own), _) => self.known(member, Some(own), own.is_embedded),
            (None, Some(Additional::Schema(all))) => self.known(member, Some(all), all.is_embedded),
            _ if preserves => {}
            (None, Some(Additional::Bool(true))) => self.known(member, None, false),
            _ => {
                if self.unknown.len() < TOLD_MAX {
                    self.unknown.push(format!("unknown field \"{}\"", self.path));
                }
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    use crate::value;

    fn pruned(schema: &Value, mut object: Value) -> (Value, Vec<String>) {
        let mut unknown = Vec::new();
        prune_root(&mut object, &parse(schema).unwrap(), &mut unknown);
        (object, unknown)
    }

    #[test]
    fn unknown_fields_are_dropped_and_told() {
        let schema = value!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "known": {"type": "string"},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                "properties": {"strict": {"type": "object"}}},
            "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {"type": "string"}}}},
            "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
        }}}});
        let (object, unknown) = pruned(
            &schema,
            value!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "a"}, "extra": 1, "spec": {
                "known": "x", "unknown": {"deep": 1},
                "free": {"anything": {"goes": 1}, "strict": {"gone": 1}},
                "map": {"k": {"a": "1", "b": 2}},
                "list": [{"a": "1"}, {"c": 3}],
            }}),
        );
        let want = value!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "a"}, "spec": {
            "known": "x", "free": {"anything": {"goes": 1}, "strict": {}},
            "map": {"k": {"a": "1"}}, "list": [{"a": "1"}, {}],
        }});
        assert_eq!(object, want);
        let told = ["extra", "spec.free.strict.gone", "spec.list[1].c", "spec.map.k.b", "spec.unknown"];
        assert_eq!(unknown, told.map(|path| format!("unknown field \"{path}\"")));
    }

    #[test]
    fn embedded_resources_keep_their_metadata() {
        let schema = value!({"type": "object", "properties": {"template": {"type": "object",
            "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}}}});
        let object =
            value!({"template": {"apiVersion": "v1", "kind": "P", "metadata": {"labels": {"a": "b"}}}});
        assert_eq!(pruned(&schema, object.clone()), (object, Vec::new()));
    }
}
