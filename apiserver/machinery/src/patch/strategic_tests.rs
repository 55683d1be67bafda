//! Golden cases of strategic merge, written as texts: object, patch, result or refusal.

use super::*;
use crate::json::{decode_free, to_string};
use crate::schema::lookup;

const GOLDEN: &str = include_str!("strategic.golden");

/// The golden file's cases: a title, the type, the object, the patch and what comes of them.
fn cases() -> impl Iterator<Item = Vec<&'static str>> {
    GOLDEN.split("\n\n").map(|case| case.lines().filter(|line| !line.starts_with('#')).collect())
}

fn outcome(type_name: &str, object: &str, patch: &str) -> String {
    let read = |text: &str| decode_free(text.as_bytes()).unwrap();
    let ty = lookup(type_name).unwrap();
    strategic_merge(&read(object), &read(patch), ty).map_or_else(
        |e| format!("refused: {}", e.to_string().lines().next().unwrap_or_default()),
        |v| to_string(&v),
    )
}

#[test]
fn golden_cases_hold() {
    let mut count = 0;
    for case in cases() {
        let [type_name, object, patch, want] = case.as_slice() else { panic!("malformed case: {case:?}") };
        assert_eq!(outcome(type_name, object, patch), *want, "{patch}");
        count += 1;
    }
    assert!(count >= 25, "only {count} cases");
}

#[test]
fn a_refusal_is_told_as_a_bad_request() {
    let pod = lookup("core/v1.Pod").unwrap();
    let patch = decode_free(br#"{"$patch":"bogus"}"#).unwrap();
    assert_eq!(strategic_merge(&Value::map(), &patch, pod).unwrap_err().to_status().code, 400);
}

#[test]
fn long_lists_merge_in_linear_time() {
    let deployment = lookup("core/v1.Pod").unwrap();
    let list = |count: i64| -> Value {
        (0..count).map(|n| crate::value!({"name": format!("e{n}"), "value": "v"})).collect()
    };
    let object = crate::value!({"spec": {"containers": [{"name": "a", "env": list(30_000)}]}});
    let merged = strategic_merge(&object, &object, deployment).unwrap();
    assert_eq!(merged, object);
}
