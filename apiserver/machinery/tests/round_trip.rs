//! Random objects of random types pass through every codec unchanged.

use choices::Draw;
use mainstay_apiserver_machinery::json::{self, Strictness};
use mainstay_apiserver_machinery::protobuf::{self, Identity};
use mainstay_apiserver_machinery::schema::{self, Base, Container, Field, Type};
use mainstay_apiserver_machinery::value::{Map, Value};
use proptest::prelude::*;

mod choices {
    //! A tiny source of choices over proptest's bytes: shrinking the bytes shrinks the object.

    pub(crate) struct Draw<'a> {
        bytes: &'a [u8],
        at: usize,
    }

    impl<'a> Draw<'a> {
        pub(crate) fn new(bytes: &'a [u8]) -> Self {
            Self { bytes, at: 0 }
        }

        /// A number below `limit`; 0 when the bytes are used up.
        pub(crate) fn below(&mut self, limit: usize) -> usize {
            let byte = self.bytes.get(self.at).copied().unwrap_or(0);
            let next = self.bytes.get(self.at + 1).copied().unwrap_or(0);
            self.at += 2;
            (usize::from(byte) << 8 | usize::from(next)) % limit
        }

        pub(crate) fn is_spent(&self) -> bool {
            self.at >= self.bytes.len()
        }
    }
}

/// A value of a field's element, as upstream would hold it.
fn element(field: &Field, draw: &mut Draw<'_>, depth: usize) -> Value {
    match field.base {
        Base::Bool => Value::Bool(draw.below(2) == 1),
        Base::Int32 => Value::Int([0, 1, -1, i64::from(i32::MAX), i64::from(i32::MIN)][draw.below(5)]),
        Base::Int64 => Value::Int([0, 1, -1, i64::MAX, i64::MIN][draw.below(5)]),
        Base::Float => {
            [Value::Int(0), Value::Int(7), Value::Float(1.5), Value::Float(-1e300)][draw.below(4)].clone()
        }
        Base::Str => Value::from(
            ["", "a", "x\"y\\\n\u{1}é😀", "a long text of more than inline length"][draw.below(4)],
        ),
        Base::Bytes => Value::from(["", "aGk=", "AAEC/w=="][draw.below(3)]),
        Base::Time => Value::from(["1970-01-01T00:00:00Z", "2026-11-22T15:06:00Z"][draw.below(2)]),
        Base::MicroTime => {
            Value::from(["1970-01-01T00:00:00.000000Z", "2026-11-22T15:06:00.000001Z"][draw.below(2)])
        }
        Base::Quantity => Value::from(["0", "1", "100m", "1Gi", "12e6"][draw.below(5)]),
        Base::IntOrString => {
            [Value::Int(0), Value::Int(-8080), Value::from("http"), Value::from("")][draw.below(4)].clone()
        }
        Base::Duration => Value::from(["0s", "1m30s", "-1.5s"][draw.below(3)]),
        Base::Raw => [
            Value::map(),
            Value::from("text"),
            Value::List(vec![Value::Null, Value::Int(1), Value::Bool(false)]),
            Value::from_iter_pairs([("k", Value::from("v"))]),
        ][draw.below(4)]
        .clone(),
        Base::Struct => field.ty().map_or(Value::Null, |ty| object(ty, draw, depth + 1)),
        Base::SchemaOrBool if draw.below(2) == 0 => Value::Bool(draw.below(2) == 1),
        Base::SchemaOrStrings if draw.below(2) == 0 => Value::from(vec!["a", "b"]),
        Base::SchemaOrArray if draw.below(2) == 0 => Value::List(vec![schema_object(field, draw, depth)]),
        Base::SchemaOrBool | Base::SchemaOrStrings | Base::SchemaOrArray => schema_object(field, draw, depth),
        Base::Any => Value::Null,
    }
}

fn schema_object(field: &Field, draw: &mut Draw<'_>, depth: usize) -> Value {
    let schema = field.ty().and_then(|ty| ty.field("Schema")).and_then(Field::ty);
    schema.map_or(Value::Null, |ty| object(ty, draw, depth + 1))
}

trait FromPairs {
    fn from_iter_pairs<const N: usize>(pairs: [(&str, Value); N]) -> Value;
}

impl FromPairs for Value {
    fn from_iter_pairs<const N: usize>(pairs: [(&str, Value); N]) -> Value {
        Value::Map(pairs.into_iter().collect())
    }
}

/// Whether a canonical tree leaves this value out.
fn omitted(field: &Field, value: &Value) -> bool {
    match field.container {
        Container::One => {
            !field.is_always_written()
                && !field.is_pointer()
                && !matches!(value, Value::Map(_) | Value::List(_))
                && value.is_empty()
        }
        _ => value.is_empty(),
    }
}

fn object(ty: &'static Type, draw: &mut Draw<'_>, depth: usize) -> Value {
    let mut map = Map::new();
    for field in ty.json_fields().filter(|f| f.number > 0) {
        let absent = depth > 7 || draw.is_spent() || draw.below(3) == 0;
        if absent {
            if let Some(zero) = &field.zero {
                map.insert(field.name, zero);
            }
            continue;
        }
        let count = 1 + draw.below(2);
        let value = match field.container {
            Container::One => element(field, draw, depth),
            Container::List => Value::List((0..count).map(|_| element(field, draw, depth)).collect()),
            Container::Map => {
                let pairs = (0..count).map(|at| {
                    let value = if field.is_wrapped() {
                        Value::List((0..at).map(|_| element(field, draw, depth)).collect())
                    } else {
                        element(field, draw, depth)
                    };
                    (["key", "other\"key"][at], value)
                });
                Value::Map(pairs.collect::<Vec<_>>().into_iter().collect())
            }
        };
        if !omitted(field, &value) {
            map.insert(field.name, value);
        }
    }
    Value::Map(map)
}

fn encodable_types() -> Vec<&'static Type> {
    let special = [
        "Time",
        "MicroTime",
        "Quantity",
        "IntOrString",
        "Duration",
        "RawExtension",
        "FieldsV1",
        "JSON",
        "Unknown",
    ];
    schema::all()
        .iter()
        .filter(|ty| ty.fields().iter().any(|f| f.number > 0))
        .filter(|ty| !special.contains(&ty.short_name()) && !ty.short_name().starts_with("JSONSchemaPropsOr"))
        .collect()
}

/// A document as a tree: upstream's nulls stand in none.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Map(map) => Value::Map(
            map.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), without_nulls(v))).collect(),
        ),
        Value::List(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

fn check(ty: &'static Type, value: &Value) -> Result<(), TestCaseError> {
    let mut pb = Vec::new();
    protobuf::encode(value, ty, &mut pb).map_err(|e| TestCaseError::fail(e.to_string()))?;
    let decoded = protobuf::decode(&pb, ty).map_err(|e| TestCaseError::fail(e.to_string()))?;
    prop_assert_eq!(&decoded, value, "{}", ty.name);

    let mut text = Vec::new();
    protobuf::transcode_json(&pb, ty, Identity::default(), &mut text)
        .map_err(|e| TestCaseError::fail(e.to_string()))?;
    let direct = json::decode_free(&text)
        .map_err(|e| TestCaseError::fail(format!("{e}: {}", String::from_utf8_lossy(&text))))?;
    prop_assert_eq!(&without_nulls(&direct), value, "transcoding {}", ty.name);

    let typed =
        json::decode(&text, Some(ty), Strictness::Strict).map_err(|e| TestCaseError::fail(e.to_string()))?;
    prop_assert_eq!(&typed.value, value, "{}", ty.name);
    let mut again = Vec::new();
    protobuf::encode(&typed.value, ty, &mut again).map_err(|e| TestCaseError::fail(e.to_string()))?;
    prop_assert_eq!(&again, &pb, "{}", ty.name);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn objects_pass_every_codec_unchanged(which in any::<prop::sample::Index>(), bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let types = encodable_types();
        let ty = *which.get(&types);
        check(ty, &object(ty, &mut Draw::new(&bytes), 0))?;
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(which in any::<prop::sample::Index>(), bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let types = encodable_types();
        let ty = *which.get(&types);
        drop(protobuf::decode(&bytes, ty));
        let mut out = Vec::new();
        drop(protobuf::transcode_json(&bytes, ty, Identity::default(), &mut out));
        drop(protobuf::with_resource_version(&bytes, "1", &mut out));
        drop(protobuf::envelope::unwrap(&bytes));
        let enveloped = [b"k8s\0".as_slice(), &bytes].concat();
        drop(protobuf::decode_object(&enveloped));
    }

    #[test]
    fn damaged_objects_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let ty = schema::lookup("core/v1.Pod").unwrap();
        let mut pb = Vec::new();
        protobuf::encode(&object(ty, &mut Draw::new(&bytes), 0), ty, &mut pb).unwrap();
        if !pb.is_empty() {
            let at = at.index(pb.len());
            pb[at] = byte;
        }
        drop(protobuf::decode(&pb, ty));
        drop(protobuf::transcode_json(&pb, ty, Identity::default(), &mut Vec::new()));
    }
}

#[test]
fn every_type_passes_with_every_field_set_and_with_none() {
    for ty in encodable_types() {
        let full = vec![1_u8; 60_000];
        for bytes in [full.as_slice(), &[]] {
            let value = object(ty, &mut Draw::new(bytes), 5);
            check(ty, &value).unwrap();
        }
    }
}

/// A JSON schema that holds a schema that holds a schema.
fn nested_schema(depth: usize) -> String {
    let open = r#"{"properties":{"p":"#.repeat(depth);
    format!(
        r#"{{"spec":{{"versions":[{{"schema":{{"openAPIV3Schema":{open}{{}}{}}}}}]}}}}"#,
        "}}".repeat(depth)
    )
}

#[test]
fn deep_objects_pass_on_a_small_stack_and_deeper_ones_are_refused() {
    let ty = schema::lookup("apiextensions.k8s.io/v1.CustomResourceDefinition").unwrap();
    // Half the stack of a thread that serves requests.
    let worker = std::thread::Builder::new().stack_size(1 << 20).spawn(move || {
        let value = json::decode(nested_schema(60).as_bytes(), Some(ty), Strictness::Strict).unwrap().value;
        check(ty, &value).unwrap();
        let free = json::decode_free(nested_schema(60).as_bytes()).unwrap();
        assert!(json::decode_free(json::to_string(&free).as_bytes()).is_ok());
        assert!(json::decode(nested_schema(70).as_bytes(), Some(ty), Strictness::Strict).is_err());
    });
    worker.unwrap().join().unwrap();
}

#[test]
fn deep_protobuf_is_refused() {
    let ty = schema::lookup("apiextensions.k8s.io/v1.JSONSchemaProps").unwrap();
    let not = ty.field("not").unwrap().number;
    let mut message: Vec<u8> = Vec::new();
    while message.len() < 20_000 {
        let mut outer = Vec::new();
        for mut part in [u64::from(not) << 3 | 2, message.len() as u64] {
            while part >= 0x80 {
                outer.push((part & 0x7f) as u8 | 0x80);
                part >>= 7;
            }
            outer.extend(u8::try_from(part));
        }
        outer.append(&mut message);
        message = outer;
    }
    let worker = std::thread::Builder::new().stack_size(1 << 20).spawn(move || {
        assert!(protobuf::decode(&message, ty).is_err());
        assert!(protobuf::transcode_json(&message, ty, Identity::default(), &mut Vec::new()).is_err());
    });
    worker.unwrap().join().unwrap();
}

#[test]
fn entries_in_any_order_are_sorted_in_linear_time() {
    let ty = schema::lookup("core/v1.ConfigMap").unwrap();
    let mut message = Vec::new();
    for n in (0..200_000_u32).rev() {
        let key = format!("{n:06}");
        message.extend_from_slice(&[0x12, 11, 0x0a, 6]);
        message.extend_from_slice(key.as_bytes());
        message.extend_from_slice(&[0x12, 1, b'v']);
    }
    let value = protobuf::decode(&message, ty).unwrap();
    let data = value.path_map(&["data"]).unwrap();
    assert_eq!(data.len(), 200_000);
    assert!(data.keys().is_sorted());
}

#[test]
fn the_stores_revision_becomes_the_resource_version() {
    let ty = schema::lookup("core/v1.ConfigMap").unwrap();
    let value: Value =
        serde_json::from_str(r#"{"metadata":{"name":"c","resourceVersion":"1","uid":"u"},"data":{"a":"b"}}"#)
            .unwrap();
    let mut pb = Vec::new();
    protobuf::encode(&value, ty, &mut pb).unwrap();
    let identity = Identity { api_version: "v1", kind: "ConfigMap", resource_version: "4711" };
    let mut text = Vec::new();
    protobuf::transcode_json(&pb, ty, identity, &mut text).unwrap();
    assert_eq!(
        String::from_utf8(text).unwrap(),
        r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"c","uid":"u","resourceVersion":"4711"},"data":{"a":"b"}}"#
    );
    let mut renewed = Vec::new();
    protobuf::with_resource_version(&pb, "4712", &mut renewed).unwrap();
    let decoded = protobuf::decode(&renewed, ty).unwrap();
    assert_eq!(decoded.path_str(&["metadata", "resourceVersion"]), Some("4712"));
    assert_eq!(decoded.path_str(&["metadata", "uid"]), Some("u"));
    let mut partial = Vec::new();
    protobuf::transcode_metadata_json(&pb, "9", &mut partial).unwrap();
    assert_eq!(
        String::from_utf8(partial).unwrap(),
        r#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"c","uid":"u","resourceVersion":"9"}}"#
    );
}
