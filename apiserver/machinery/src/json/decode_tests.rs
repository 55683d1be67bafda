//! Tests of decoding: strictness, texts, canonical scalars, bounds.

use super::*;
use crate::schema::lookup;
use crate::value;
use proptest::prelude::*;

fn deployment(text: &str, strictness: Strictness) -> Result<Decoded, DecodeError> {
    decode(text.as_bytes(), lookup("apps/v1.Deployment"), strictness)
}

fn refusal(type_name: &str, text: &str) -> String {
    decode(text.as_bytes(), lookup(type_name), Strictness::Warn).unwrap_err().to_string()
}

#[test]
fn unknown_and_duplicate_fields_are_told_with_their_paths() {
    let text = r#"{"apiVersion":"apps/v1","kind":"Deployment","foo":{"a":[1,{}]},"metadata":{"labels":{"a":"1","a":"2"}},
        "spec":{"replicas":1,"replicas":2,"template":{"spec":{"containers":[{"name":"a"},{"Name":"b"}]}}}}"#;
    let decoded = deployment(text, Strictness::Warn).unwrap();
    assert_eq!(
        decoded.warnings,
        [
            r#"unknown field "foo""#,
            r#"duplicate field "metadata.labels.a""#,
            r#"unknown field "spec.template.spec.containers[1].Name""#,
            r#"duplicate field "spec.replicas""#,
        ]
    );
    assert_eq!(decoded.value.path_i64(&["spec", "replicas"]), Some(2));
    assert_eq!(decoded.value.path_str(&["metadata", "labels", "a"]), Some("2"));
    assert_eq!(decoded.value.get("foo"), None);
    assert_eq!(deployment(text, Strictness::Ignore).unwrap().warnings, Vec::<String>::new());
    let refused = deployment(text, Strictness::Strict).unwrap_err().to_string();
    assert!(
        refused.starts_with(r#"strict decoding error: unknown field "foo", duplicate field "metadata"#),
        "{refused}"
    );
}

#[test]
fn wrong_types_are_refused_in_gos_words() {
    for (type_name, text, want) in [
        (
            "apps/v1.Deployment",
            r#"{"spec":{"replicas":"3"}}"#,
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "apps/v1.Deployment",
            r#"{"spec":{"replicas":3.5}}"#,
            "json: cannot unmarshal number 3.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "core/v1.Pod",
            r#"{"metadata":{"labels":{"a":1}}}"#,
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            "core/v1.Pod",
            r#"{"spec":{"containers":{}}}"#,
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            "core/v1.Pod",
            r#"{"spec":{"containers":[{"ports":[{"protocol":1}]}]}}"#,
            "json: cannot unmarshal number into Go struct field ContainerPort.spec.containers.ports.protocol of type v1.Protocol",
        ),
        ("core/v1.Pod", "[]", "json: cannot unmarshal array into Go value of type v1.Pod"),
        (
            "core/v1.Pod",
            r#"{"spec":{"containers":[{"resources":{"limits":{"cpu":"x"}}}]}}"#,
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ] {
        assert_eq!(refusal(type_name, text), want);
    }
}

#[test]
fn malformed_text_is_refused_in_gos_words() {
    for (text, want) in [
        ("", "unexpected end of JSON input"),
        ("{", "unexpected end of JSON input"),
        ("{}x", "invalid character 'x' after top-level value"),
        ("{} {}", "invalid character '{' after top-level value"),
        (r#"{"a" 1}"#, "invalid character '1' after object key"),
        (r#"{"a":1 "b":2}"#, "invalid character '\"' after object key:value pair"),
        (r#"{"kind":tru}"#, "invalid character '}' in literal true (expecting 'e')"),
        (r#"{"kind":"a\q"}"#, "invalid character 'q' in string escape code"),
        ("{'a':1}", r"invalid character '\'' looking for beginning of object key string"),
        (r#"{"spec":{"replicas":01}}"#, "invalid character '1' after object key:value pair"),
        (r#"{"zzz":[1,]}"#, "invalid character ']' looking for beginning of value"),
    ] {
        assert_eq!(refusal("apps/v1.Deployment", text), want, "{text}");
    }
    assert_eq!(decode_free(b"\"\xff\""), Err(DecodeError::NotUtf8 { at: 1 }));
}

#[test]
fn nulls_vanish_and_scalars_become_canonical() {
    let text = r#"{"metadata":{"name":"p","creationTimestamp":null,"annotations":{"a":null}},
        "spec":{"nodeName":null,"containers":[{"name":"\u00e9\ud83d\ude00\ud800","resources":{"limits":{"cpu":"1000m","memory":1024}}}]}}"#;
    let value = decode(text.as_bytes(), lookup("core/v1.Pod"), Strictness::Strict).unwrap().value;
    assert_eq!(
        value,
        value!({
            "metadata": {"name": "p", "annotations": {"a": ""}},
            "spec": {"containers": [{"name": "é😀\u{fffd}", "resources": {"limits": {"cpu": "1", "memory": "1024"}}}]},
            "status": {},
        })
    );
}

#[test]
fn equal_objects_are_equal_trees_however_they_are_written() {
    let sparse = r#"{"spec":{"containers":[{"name":"a"}],"volumes":[null]}}"#;
    let wordy = r#"{"metadata":{"labels":{},"name":""},"spec":{"hostNetwork":false,"nodeName":"","initContainers":[],
        "containers":[{"name":"a","resources":{"limits":{}},"env":null,"tty":false}],"volumes":[{"name":""}]},"status":{}}"#;
    let tree = |text: &str| decode(text.as_bytes(), lookup("core/v1.Pod"), Strictness::Strict).unwrap().value;
    assert_eq!(tree(sparse), tree(wordy));
    assert_eq!(
        tree(sparse),
        value!({
            "metadata": {}, "status": {},
            "spec": {"containers": [{"name": "a", "resources": {}}], "volumes": [{"name": ""}]},
        })
    );
}

#[test]
fn depth_is_bounded_without_recursion_overflow() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    // A field that is dropped may be as deep as upstream allows.
    assert!(deployment(&format!(r#"{{"x":{}}}"#, nested(9_999)), Strictness::Warn).is_ok());
    assert_eq!(
        deployment(&format!(r#"{{"x":{}}}"#, nested(10_001)), Strictness::Warn),
        Err(DecodeError::TooDeep)
    );
    assert!(decode_free(nested(TREE_DEPTH_MAX).as_bytes()).is_ok());
    assert_eq!(decode_free(nested(9_999).as_bytes()), Err(DecodeError::TooDeep));
}

#[test]
fn json_schemas_stand_in_for_bools_and_lists() {
    let text = r#"{"spec":{"versions":[{"name":"v1","schema":{"openAPIV3Schema":{"type":"object",
        "additionalProperties":true,"items":[{"type":"string"}],"dependencies":{"a":["b"]},"default":{"x":[1]},
        "properties":{"p":{"additionalProperties":{"type":"integer"},"maximum":1.5}}}}}]}}"#;
    let ty = lookup("apiextensions.k8s.io/v1.CustomResourceDefinition");
    let decoded = decode(text.as_bytes(), ty, Strictness::Strict).unwrap();
    let free = decode_free(text.as_bytes()).unwrap();
    let schema = |value: &Value| value.path_list(&["spec", "versions"])[0].get("schema").cloned();
    assert_eq!(schema(&decoded.value), schema(&free));
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(decode(&body, lookup("core/v1.Pod"), Strictness::Strict));
    }

    #[test]
    fn any_jsonish_text_is_decoded_or_refused(text in r#"[\{\}\[\],:"\\untrefalse0-9.eE +-]{0,60}"#) {
        let ours = decode_free(text.as_bytes());
        let theirs = serde_json::from_str::<Value>(&text);
        if let (Ok(ours), Ok(theirs)) = (&ours, &theirs) {
            prop_assert_eq!(ours, theirs);
        }
        // serde_json refuses lone surrogates and numbers beyond f64, which Go takes or words differently.
        if theirs.is_ok() {
            prop_assert!(ours.is_ok(), "{:?}", ours);
        } else if ours.is_ok() {
            prop_assert!(text.contains("\\u"), "{}", text);
        }
    }
}
