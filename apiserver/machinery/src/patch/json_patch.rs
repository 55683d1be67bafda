//! JSON patch (RFC 6902), with the bounds and the words of upstream's implementation.

use super::PatchError;
use super::error::{malformed, unprocessable};
use crate::value::Value;
use smol_str::SmolStr;

/// Bytes that all copy operations of a patch may add together.
pub const COPY_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Operations that a patch may have.
pub const OPERATIONS_MAX: usize = 10_000;

/// Applies a JSON patch: all of it, or an error.
pub fn json_patch(target: &Value, patch: &Value) -> Result<Value, PatchError> {
    let Value::List(operations) = patch else {
        return malformed(format!(
            "json: cannot unmarshal {} into Go value of type jsonpatch.Patch",
            patch.json_kind()
        ));
    };
    if operations.len() > OPERATIONS_MAX {
        return Err(PatchError::TooLarge { limit: OPERATIONS_MAX, count: operations.len() });
    }
    let mut document = target.clone();
    let mut copied = 0;
    for operation in operations {
        Operation::read(operation)?.apply(&mut document, &mut copied)?;
    }
    Ok(document)
}

struct Operation<'a> {
    name: &'a str,
    path: Option<&'a str>,
    from: Option<&'a str>,
    value: Option<&'a Value>,
}

/// Why a step failed: upstream's innermost words.
type Fault = String;

const MISSING: &str = "missing value";

impl<'a> Operation<'a> {
    fn read(operation: &'a Value) -> Result<Self, PatchError> {
        let Value::Map(members) = operation else {
            return malformed(format!(
                "json: cannot unmarshal {} into Go value of type jsonpatch.Operation",
                operation.json_kind()
            ));
        };
        let text = |key| members.get(key).and_then(Value::as_str);
        let name = text("op").unwrap_or("unknown");
        Ok(Self { name, path: text("path"), from: text("from"), value: members.get("value") })
    }

    fn path(&self) -> Result<&'a str, PatchError> {
        match self.path {
            Some(path) => Ok(path),
            None => unprocessable(format!("{} operation failed to decode path: {MISSING}", self.name)),
        }
    }

    fn from(&self) -> Result<&'a str, PatchError> {
        match self.from {
            Some(from) => Ok(from),
            None => unprocessable(format!("{} operation failed to decode from: {MISSING}", self.name)),
        }
    }

    fn apply(&self, document: &mut Value, copied: &mut usize) -> Result<(), PatchError> {
        match self.name {
            "add" => self.add(document, self.path()?, self.value.cloned().unwrap_or_default()),
            "remove" => self.remove(document, self.path()?).map(drop),
            "replace" => self.replace(document, self.path()?),
            "move" => {
                let (from, path) = (self.from()?, self.path()?);
                if path.strip_prefix(from).is_some_and(|rest| rest.starts_with('/')) {
                    return unprocessable(format!(
                        "error in move for path: '{path}': it is inside of '{from}'"
                    ));
                }
                let value = self.remove(document, from)?;
                self.add(document, path, value)
            }
            "copy" => self.copy(document, copied),
            "test" => self.test(document, self.path()?),
            other => unprocessable(format!("Unexpected kind: {other}")),
        }
    }

    fn missing<T>(&self, what: &str, path: &str) -> Result<T, PatchError> {
        unprocessable(format!(
            "{} operation does not apply: doc is missing {what}: {path}: {MISSING}",
            self.name
        ))
    }

    fn add(&self, document: &mut Value, path: &str, value: Value) -> Result<(), PatchError> {
        let Some((parent, key)) = split(path) else {
            *document = value;
            return Ok(());
        };
        let Some(container) = resolve_mut(document, parent) else { return self.missing("path", path) };
        let result = match container {
            Value::Map(map) => {
                map.insert(key, value);
                Ok(())
            }
            Value::List(items) => insert_at(items, &key, value),
            _ => return self.missing("path", path),
        };
        result.or_else(|fault| unprocessable(format!("error in {} for path: '{path}': {fault}", self.name)))
    }

    fn remove(&self, document: &mut Value, path: &str) -> Result<Value, PatchError> {
        let Some((parent, key)) = split(path) else { return self.missing("path", path) };
        let Some(container) = resolve_mut(document, parent) else { return self.missing("path", path) };
        let result: Result<Value, Fault> = match container {
            Value::Map(map) => {
                map.remove(&key).ok_or_else(|| format!("Unable to remove nonexistent key: {key}: {MISSING}"))
            }
            Value::List(items) => index(&key, items.len(), false).map(|at| items.remove(at)),
            _ => return self.missing("path", path),
        };
        result.or_else(|fault| unprocessable(format!("error in {} for path: '{path}': {fault}", self.name)))
    }

    fn replace(&self, document: &mut Value, path: &str) -> Result<(), PatchError> {
        match resolve_mut(document, path) {
            Some(slot) => {
                *slot = self.value.cloned().unwrap_or_default();
                Ok(())
            }
            None => self.missing("key", path),
        }
    }

    fn copy(&self, document: &mut Value, copied: &mut usize) -> Result<(), PatchError> {
        let (from, path) = (self.from()?, self.path()?);
        let Some(source) = resolve(document, from) else { return self.missing("from path", from) };
        *copied = copied.saturating_add(size(source, COPY_BYTES_MAX));
        if *copied > COPY_BYTES_MAX {
            return unprocessable(format!(
                "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {COPY_BYTES_MAX}"
            ));
        }
        let value = source.clone();
        self.add(document, path, value)
    }

    fn test(&self, document: &Value, path: &str) -> Result<(), PatchError> {
        let found = resolve(document, path);
        if found.is_none() && resolve(document, split(path).map_or("", |(parent, _)| parent)).is_none() {
            return unprocessable(format!(
                "test operation does not apply: is missing path: {path}: {MISSING}"
            ));
        }
        if found.unwrap_or(&Value::Null) == self.value.unwrap_or(&Value::Null) {
            Ok(())
        } else {
            Err(PatchError::TestFailed { path: path.to_owned() })
        }
    }
}

/// Parent path and last key, unescaped; none for the whole document.
fn split(path: &str) -> Option<(&str, SmolStr)> {
    let (parent, key) = path.rsplit_once('/')?;
    Some((parent, unescape(key)))
}

fn unescape(key: &str) -> SmolStr {
    if key.contains('~') { key.replace("~1", "/").replace("~0", "~").into() } else { key.into() }
}

/// The keys of a path; a path that does not begin with a slash has its first part skipped, as upstream does.
fn keys(path: &str) -> impl Iterator<Item = SmolStr> {
    path.split('/').skip(1).map(unescape)
}

fn resolve<'v>(document: &'v Value, path: &str) -> Option<&'v Value> {
    keys(path).try_fold(document, |value, key| match value {
        Value::Map(map) => map.get(&key),
        Value::List(items) => items.get(index(&key, items.len(), false).ok()?),
        _ => None,
    })
}

fn resolve_mut<'v>(document: &'v mut Value, path: &str) -> Option<&'v mut Value> {
    keys(path).try_fold(document, |value, key| match value {
        Value::Map(map) => map.get_mut(&key),
        Value::List(items) => {
            let at = index(&key, items.len(), false).ok()?;
            items.get_mut(at)
        }
        _ => None,
    })
}

/// A list index; negative ones count from the end. With `past_end` the end itself is allowed.
fn index(key: &str, len: usize, past_end: bool) -> Result<usize, Fault> {
    let Ok(at) = key.parse::<i64>() else {
        return Err(format!("strconv.Atoi: parsing \"{key}\": invalid syntax"));
    };
    let limit = if past_end { len + 1 } else { len };
    let place = if at < 0 { at + limit as i64 } else { at };
    match usize::try_from(place) {
        Ok(place) if place < limit => Ok(place),
        _ => Err(format!("Unable to access invalid index: {at}: invalid index referenced")),
    }
}

fn insert_at(items: &mut Vec<Value>, key: &str, value: Value) -> Result<(), Fault> {
    if key == "-" {
        items.push(value);
    } else {
        items.insert(index(key, items.len(), true)?, value);
    }
    Ok(())
}

/// About how many bytes of JSON a value is; counting stops beyond `limit`.
fn size(value: &Value, limit: usize) -> usize {
    match value {
        Value::Str(text) => text.len() + 2,
        Value::List(items) => items.iter().fold(2, |n, v| if n > limit { n } else { n + size(v, limit) + 1 }),
        Value::Map(map) => {
            map.iter().fold(2, |n, (k, v)| if n > limit { n } else { n + k.len() + 4 + size(v, limit) })
        }
        Value::Null | Value::Bool(true) => 4,
        Value::Bool(false) => 5,
        Value::Int(_) | Value::Float(_) => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::decode_free;
    use crate::value;

    fn patched(target: &str, patch: &str) -> Result<Value, String> {
        let read = |text: &str| decode_free(text.as_bytes()).unwrap();
        json_patch(&read(target), &read(patch)).map_err(|e| e.to_string())
    }

    #[test]
    fn operations_do_as_the_rfc_says() {
        for (target, patch, want) in [
            (r#"{"a":1}"#, r#"[{"op":"add","path":"/b","value":[2]}]"#, value!({"a": 1, "b": [2]})),
            (
                r#"{"a":[1,3]}"#,
                r#"[{"op":"add","path":"/a/1","value":2},{"op":"add","path":"/a/-","value":4}]"#,
                value!({"a": [1, 2, 3, 4]}),
            ),
            (r#"{"a":[1,2]}"#, r#"[{"op":"remove","path":"/a/0"}]"#, value!({"a": [2]})),
            (r#"{"a":[1,2]}"#, r#"[{"op":"remove","path":"/a/-1"}]"#, value!({"a": [1]})),
            (
                r#"{"a/b":{"m~n":1}}"#,
                r#"[{"op":"replace","path":"/a~1b/m~0n","value":2}]"#,
                value!({"a/b": {"m~n": 2}}),
            ),
            (r#"{"a":{"b":1}}"#, r#"[{"op":"move","from":"/a/b","path":"/c"}]"#, value!({"a": {}, "c": 1})),
            (
                r#"{"a":{"b":1}}"#,
                r#"[{"op":"copy","from":"/a","path":"/c"},{"op":"test","path":"/c/b","value":1}]"#,
                value!({"a": {"b": 1}, "c": {"b": 1}}),
            ),
            (
                r#"{"a":null}"#,
                r#"[{"op":"test","path":"/a","value":null},{"op":"add","path":"/a","value":null}]"#,
                value!({"a": null}),
            ),
        ] {
            assert_eq!(patched(target, patch), Ok(want), "{patch}");
        }
    }

    #[test]
    fn failures_are_told_in_upstreams_words() {
        for (target, patch, want) in [
            (
                r#"{"a":1}"#,
                r#"[{"op":"test","path":"/a","value":2}]"#,
                "testing value /a failed: test failed",
            ),
            (
                r#"{"a":1}"#,
                r#"[{"op":"remove","path":"/b"}]"#,
                "error in remove for path: '/b': Unable to remove nonexistent key: b: missing value",
            ),
            (
                r#"{"a":1}"#,
                r#"[{"op":"replace","path":"/b","value":1}]"#,
                "replace operation does not apply: doc is missing key: /b: missing value",
            ),
            (
                r#"{"a":[]}"#,
                r#"[{"op":"add","path":"/a/x","value":1}]"#,
                r#"error in add for path: '/a/x': strconv.Atoi: parsing "x": invalid syntax"#,
            ),
            (
                r#"{"a":[]}"#,
                r#"[{"op":"add","path":"/a/1","value":1}]"#,
                "error in add for path: '/a/1': Unable to access invalid index: 1: invalid index referenced",
            ),
            (
                r#"{"metadata":{}}"#,
                r#"[{"op":"add","path":"/metadata/-/x","value":1}]"#,
                "add operation does not apply: doc is missing path: /metadata/-/x: missing value",
            ),
            (
                r#"{"a":{}}"#,
                r#"[{"op":"move","from":"/a","path":"/a/b"}]"#,
                "error in move for path: '/a/b': it is inside of '/a'",
            ),
            ("{}", r#"[{"op":"bogus","path":"/a"}]"#, "Unexpected kind: bogus"),
            ("{}", r#"{"op":"add"}"#, "json: cannot unmarshal object into Go value of type jsonpatch.Patch"),
        ] {
            assert_eq!(patched(target, patch), Err(want.to_owned()), "{patch}");
        }
    }

    #[test]
    fn a_copy_bomb_is_refused_before_it_grows() {
        let target = value!({"a": ["x".repeat(10_000)]});
        let copy = value!({"op": "copy", "from": "/a", "path": "/a/-"});
        let error = json_patch(&target, &Value::List(vec![copy; 20])).unwrap_err();
        assert!(error.to_string().starts_with("Unable to complete the copy"), "{error}");
        assert_eq!(error.to_status().code, 422);
        let many = Value::List(vec![value!({"op": "test", "path": "/z", "value": null}); OPERATIONS_MAX + 1]);
        assert_eq!(json_patch(&target, &many).unwrap_err().to_status().code, 413);
    }
}
