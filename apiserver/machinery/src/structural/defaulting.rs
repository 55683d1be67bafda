//! Filling in defaults, and dropping nulls where none may stand.

use super::model::{Additional, Structural};
use crate::value::Value;

/// Sets the defaults of `schema` wherever nothing, or a null that may not be there, stands. Doing it twice changes
/// nothing more.
pub fn apply_defaults(value: &mut Value, schema: &Structural) {
    if !schema.has_defaults {
        return;
    }
    match value {
        Value::Map(map) => {
            for (name, property) in &schema.properties {
                if let Some(default) = &property.default
                    && map.get(name).is_none_or(|present| property.forbids_null(present))
                {
                    map.insert(name.clone(), default.clone());
                }
            }
            for (name, member) in map.iter_mut() {
                let Some(within) = schema.member(name) else { continue };
                set(member, within);
            }
        }
        Value::List(items) => {
            if let Some(within) = schema.items.as_deref() {
                for item in items {
                    set(item, within);
                }
            }
        }
        _ => {}
    }
}

fn set(value: &mut Value, schema: &Structural) {
    if schema.forbids_null(value)
        && let Some(default) = &schema.default
    {
        *value = default.clone();
    }
    apply_defaults(value, schema);
}

/// Drops the members that are null although their schema neither allows it nor has a default for them.
pub fn drop_forbidden_nulls(value: &mut Value, schema: &Structural) {
    match value {
        Value::Map(map) => map.retain(|name, member| {
            if let Some(own) = schema.property(name) {
                if own.forbids_null(member) && own.default.is_none() {
                    return false;
                }
                drop_forbidden_nulls(member, own);
            } else if let Additional::Schema(all) = &schema.additional {
                drop_forbidden_nulls(member, all);
            }
            true
        }),
        Value::List(items) => {
            if let Some(within) = schema.items.as_deref() {
                for item in items {
                    drop_forbidden_nulls(item, within);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::{parse, prune_root};
    use super::*;
    use crate::value;
    use proptest::prelude::*;

    fn schema() -> Structural {
        parse(&value!({"type": "object", "properties": {
            "a": {"type": "integer", "default": 7},
            "b": {"type": "object", "default": {}, "properties": {
                "c": {"type": "string", "default": "x"}, "n": {"type": "string", "nullable": true}}},
            "l": {"type": "array", "items": {"type": "object", "properties": {"d": {"type": "boolean", "default": true}}}},
            "m": {"type": "object", "additionalProperties": {"type": "object", "properties": {"e": {"type": "integer", "default": 1}}}},
            "p": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        }}))
        .unwrap()
    }

    #[test]
    fn defaults_fill_what_is_absent_at_every_depth() {
        let mut object =
            value!({"a": null, "b": {"n": null}, "l": [{}, {"d": false}], "m": {"k": {}}, "p": {"z": null}});
        drop_forbidden_nulls(&mut object, &schema());
        apply_defaults(&mut object, &schema());
        let want = value!({"a": 7, "b": {"c": "x", "n": null}, "l": [{"d": true}, {"d": false}],
            "m": {"k": {"e": 1}}, "p": {"z": null}});
        assert_eq!(object, want);
        let mut empty = value!({});
        apply_defaults(&mut empty, &schema());
        assert_eq!(empty, value!({"a": 7, "b": {"c": "x"}}));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            "[a-z]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
                prop::collection::vec(("[abcdelmnp]", inner), 0..5)
                    .prop_map(|pairs| Value::Map(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn pruning_and_defaulting_twice_change_nothing_more(object in any_value()) {
            let schema = schema();
            let mut once = object;
            let mut unknown = Vec::new();
            prune_root(&mut once, &schema, &mut unknown);
            drop_forbidden_nulls(&mut once, &schema);
            apply_defaults(&mut once, &schema);
            let mut twice = once.clone();
            unknown.clear();
            prune_root(&mut twice, &schema, &mut unknown);
            drop_forbidden_nulls(&mut twice, &schema);
            apply_defaults(&mut twice, &schema);
            prop_assert_eq!(&once, &twice);
            prop_assert!(unknown.is_empty(), "{:?}", unknown);
        }
    }
}
