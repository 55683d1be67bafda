//! JSON merge patch (RFC 7386).

use super::PatchError;
use super::error::malformed;
use crate::value::{Map, Value};

/// Applies a merge patch: null removes, maps merge, all else replaces.
pub fn merge_patch(target: &Value, patch: &Value) -> Result<Value, PatchError> {
    let Value::Map(patch) = patch else {
        return malformed("error decoding patch: a merge patch must be an object");
    };
    let target = target.as_map().cloned().unwrap_or_default();
    Ok(Value::Map(merge(target, patch.clone())))
}

fn merge(target: Map, patch: Map) -> Map {
    let joined = target.try_join(patch, |_, old, new| {
        Ok::<_, std::convert::Infallible>(match (old, new) {
            (old, None) => old,
            (_, Some(Value::Null)) => None,
            (Some(Value::Map(old)), Some(Value::Map(new))) => Some(Value::Map(merge(old, new))),
            (_, Some(Value::Map(new))) => Some(Value::Map(merge(Map::new(), new))),
            (_, new) => new,
        })
    });
    match joined {
        Ok(map) => map,
        Err(never) => match never {},
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn large_maps_merge_in_linear_time() {
        let map = |prefix: &str| -> Map { (0..100_000).map(|n| (format!("{prefix}{n:06}"), n)).collect() };
        let merged = merge_patch(&Value::Map(map("z")), &Value::Map(map("a"))).unwrap();
        assert_eq!(merged.as_map().map(Map::len), Some(200_000));
        let nulls: Map = (0..100_000).map(|n| (format!("a{n:06}"), Value::Null)).collect();
        assert_eq!(merge_patch(&merged, &Value::Map(nulls)), Ok(Value::Map(map("z"))));
    }

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
