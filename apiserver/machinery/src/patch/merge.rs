//! JSON merge patch (RFC 7386).

use super::PatchError;
use super::error::malformed;
use crate::value::{Map, Value};

/// Applies a merge patch: null removes, maps merge, all else replaces.
pub fn merge_patch(target: &Value, patch: &Value) -> Result<Value, PatchError> {
    let Value::Map(patch) = patch else {
        return malformed("error decoding patch: a merge patch must be an object");
    };
    let mut result = target.clone();
    merge(&mut result, patch);
    Ok(result)
}

fn merge(target: &mut Value, patch: &Map) {
    let map = target.make_map();
    for (key, value) in patch {
        match value {
            Value::Null => drop(map.remove(key)),
            Value::Map(inner) => merge(map.get_or_insert(key, Value::map), inner),
            other => drop(map.insert(key.clone(), other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn the_rfcs_examples_hold() {
        for (target, patch, want) in [
            (value!({"a": "b"}), value!({"a": "c"}), value!({"a": "c"})),
            (value!({"a": "b"}), value!({"b": "c"}), value!({"a": "b", "b": "c"})),
            (value!({"a": "b"}), value!({"a": null}), value!({})),
            (value!({"a": ["b"]}), value!({"a": "c"}), value!({"a": "c"})),
            (value!({"a": {"b": "c"}}), value!({"a": {"b": "d", "c": null}}), value!({"a": {"b": "d"}})),
            (value!({"a": [{"b": "c"}]}), value!({"a": [1]}), value!({"a": [1]})),
            (value!({"e": null}), value!({"a": 1}), value!({"e": null, "a": 1})),
            (value!({}), value!({"a": {"bb": {"ccc": null}}}), value!({"a": {"bb": {}}})),
        ] {
            assert_eq!(merge_patch(&target, &patch), Ok(want));
        }
        assert!(merge_patch(&value!({}), &value!(["c"])).is_err());
    }
}
