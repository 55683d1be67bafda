//! What clients send, changed at random: any bytes give a value or an error, what is read is written and read as the same,
//! and sets obey the laws of sets. The seeds are real bodies; each case edits one of them a few times.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "tests")]

use mainstay_apiserver_machinery::json::{self, Strictness, decode_free, to_string};
use mainstay_apiserver_machinery::ownership::{Element, FieldSet, Managed};
use mainstay_apiserver_machinery::patch::{json_patch, merge_patch, strategic_merge};
use mainstay_apiserver_machinery::protobuf::{self, Identity, transcode_json};
use mainstay_apiserver_machinery::schema::{Type, lookup};
use mainstay_apiserver_machinery::yaml;
use mainstay_proto_api::{Quantity, field, label};
use proptest::prelude::*;

const POD: &str = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","labels":{"a":"1"},"creationTimestamp":"2026-01-02T03:04:05Z"},"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80,"protocol":"TCP"}],"resources":{"limits":{"cpu":"100m","memory":1024}},"livenessProbe":{"httpGet":{"path":"/","port":"web"}}}],"volumes":[{"name":"v","emptyDir":{}}],"terminationGracePeriodSeconds":30},"status":{"phase":"Running","podIPs":[{"ip":"10.0.0.1"}]}}"#;
const YAML: &str = "apiVersion: v1\nkind: Pod\nmetadata: &m\n  name: p\n  labels: {a: '1', b: !!str 2}\nspec:\n  containers:\n  - name: c\n    image: \"i\"\n    args: [a, |\n      b]\n";
const FIELDS: &str = r#"{"f:metadata":{"f:labels":{".":{},"f:a":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{}},"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{}},"f:finalizers":{"v:\"x\"":{}},"i:3":{}}}"#;
const PATCHES: [&str; 3] = [
    r#"[{"op":"add","path":"/spec/containers/-","value":{"name":"d"}},{"op":"test","path":"/metadata/name","value":"p"},{"op":"move","from":"/metadata/labels","path":"/a~1b"},{"op":"copy","from":"/spec","path":"/x"},{"op":"remove","path":"/status"}]"#,
    r#"{"metadata":{"labels":{"a":null,"b":"2"}},"spec":{"containers":[]}}"#,
    r#"{"spec":{"$setElementOrder/containers":[{"name":"d"},{"name":"c"}],"containers":[{"name":"c","image":"j"},{"$patch":"delete","name":"d"},{"$patch":"replace"}],"$retainKeys":["containers"]}}"#,
];
const SELECTORS: [&str; 4] = [
    "a=1,b!=2,c in (x,y),!d,e,f notin (z),g>1",
    "metadata.name=x,status.phase!=Run\\,ning",
    "1.5Gi",
    "-12e3",
];

/// One change of a text: where (by a fraction), what, and with which bytes.
#[derive(Debug, Clone)]
struct Edit {
    at: u16,
    length: u8,
    what: u8,
    bytes: Vec<u8>,
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let bytes = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..6),
        proptest::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            "\"",
            "\\",
            ":",
            ",",
            "null",
            "true",
            "-0",
            "1e999",
            "\\ud800",
            "\u{0}",
            "99999999999999999999",
            "\n",
            " ",
            "~",
            "/",
            "$patch",
            ".",
            "k:",
            "v:",
            "i:",
            "f:",
            "&a",
            "*a",
            "<<",
            "!!binary",
            "- ",
            "\t",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    let edit = (any::<u16>(), 0_u8..24, 0_u8..4, bytes).prop_map(|(at, length, what, bytes)| Edit {
        at,
        length,
        what,
        bytes,
    });
    proptest::collection::vec(edit, 0..6)
}

fn edited(seed: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut out = seed.to_vec();
    for edit in edits {
        let at = usize::from(edit.at) * out.len() / (usize::from(u16::MAX) + 1);
        let end = (at + usize::from(edit.length)).min(out.len());
        match edit.what {
            0 => drop(out.splice(at..at, edit.bytes.iter().copied())),
            1 => drop(out.splice(at..end, edit.bytes.iter().copied())),
            2 => drop(out.drain(at..end)),
            _ => {
                let copy = out[at..end].to_vec();
                drop(out.splice(at..at, copy));
            }
        }
    }
    out
}

fn types() -> impl Iterator<Item = &'static Type> {
    ["core/v1.Pod", "apps/v1.Deployment", "core/v1.ConfigMap", "core/v1.Node"].into_iter().filter_map(lookup)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn json_bodies(edits in edits()) {
        let bytes = edited(POD.as_bytes(), &edits);
        if let Ok(value) = decode_free(&bytes) {
            let text = to_string(&value);
            prop_assert_eq!(to_string(&decode_free(text.as_bytes()).unwrap()), text);
        }
        for ty in types() {
            for strictness in [Strictness::Warn, Strictness::Strict] {
                if let Ok(decoded) = json::decode(&bytes, Some(ty), strictness) {
                    let text = to_string(&decoded.value);
                    let again = json::decode(text.as_bytes(), Some(ty), Strictness::Strict).unwrap();
                    prop_assert_eq!(again.value, decoded.value);
                }
            }
        }
    }

    #[test]
    fn yaml_bodies(edits in edits()) {
        let bytes = edited(YAML.as_bytes(), &edits);
        if let Ok(decoded) = yaml::decode(&bytes, None, Strictness::Warn) {
            decode_free(to_string(&decoded.value).as_bytes()).unwrap();
        }
        drop(yaml::decode(&bytes, lookup("core/v1.Pod"), Strictness::Strict));
    }

    #[test]
    fn protobuf_bodies(edits in edits()) {
        let ty = lookup("core/v1.Pod").unwrap();
        let pod = json::decode(POD.as_bytes(), Some(ty), Strictness::Strict).unwrap().value;
        let mut seed = Vec::new();
        protobuf::encode(&pod, ty, &mut seed).unwrap();
        let bytes = edited(&seed, &edits);
        drop(protobuf::decode_object(&bytes));
        for ty in types() {
            let Ok(value) = protobuf::decode(&bytes, ty) else { continue };
            let mut encoded = Vec::new();
            if protobuf::encode(&value, ty, &mut encoded).is_err() {
                continue;
            }
            prop_assert_eq!(&protobuf::decode(&encoded, ty).unwrap(), &value);
            let mut text = Vec::new();
            transcode_json(&encoded, ty, Identity::default(), &mut text).unwrap();
            decode_free(&text).unwrap();
        }
    }

    #[test]
    fn patches(kind in 0_usize..3, of_object in edits(), of_patch in edits()) {
        let object = edited(POD.as_bytes(), &of_object);
        let patch = edited(PATCHES[kind].as_bytes(), &of_patch);
        let (Ok(object), Ok(patch)) = (decode_free(&object), decode_free(&patch)) else { return Ok(()) };
        drop(json_patch(&object, &patch));
        if let Ok(merged) = merge_patch(&object, &patch) {
            prop_assert_eq!(merge_patch(&merged, &patch).unwrap(), merged, "a merge is done once");
        }
        let ty = lookup("core/v1.Pod").unwrap();
        if let Ok(pod) = json::decode(to_string(&object).as_bytes(), Some(ty), Strictness::Ignore) {
            drop(strategic_merge(&pod.value, &patch, ty));
        }
    }

    #[test]
    fn field_sets(one in edits(), other in edits()) {
        let read = |edits: &[Edit]| {
            let value = decode_free(&edited(FIELDS.as_bytes(), edits)).ok()?;
            FieldSet::from_fields_v1(&value).ok()
        };
        for edits in [&one, &other] {
            if let Some(set) = read(edits) {
                prop_assert_eq!(&FieldSet::from_fields_v1(&set.to_fields_v1()).unwrap(), &set);
                prop_assert_eq!(set.paths().len(), set.len());
            }
            if let Ok(text) = String::from_utf8(edited(b"k:{\"name\":\"c\",\"port\":80}", edits))
                && let Ok(Some(element)) = Element::parse(&text)
            {
                prop_assert_eq!(Element::parse(&element.text()).unwrap().unwrap(), element);
            }
        }
        if let (Some(one), Some(other)) = (read(&one), read(&other)) {
            let (both, common) = (one.union(&other), one.intersection(&other));
            prop_assert_eq!(both.difference(&other).union(&other), both.clone());
            prop_assert_eq!(common.union(&one.difference(&other)), one.clone());
            prop_assert_eq!(one.intersection(&both), one);
        }
        let entries = format!(r#"[{{"manager":"m","operation":"Apply","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{FIELDS}}}]"#);
        if let Ok(value) = decode_free(&edited(entries.as_bytes(), &other))
            && let Some(entries) = value.as_list()
        {
            drop(Managed::sent(entries));
            drop(Managed::stored(entries));
        }
    }

    #[test]
    fn selectors_and_amounts(seed in 0_usize..4, edits in edits()) {
        let Ok(text) = String::from_utf8(edited(SELECTORS[seed].as_bytes(), &edits)) else { return Ok(()) };
        if let Ok(selector) = label::Selector::parse(&text) {
            prop_assert_eq!(label::Selector::parse(&selector.to_string()).unwrap(), selector);
        }
        if let Ok(selector) = field::Selector::parse(&text) {
            prop_assert_eq!(field::Selector::parse(&selector.to_string()).unwrap(), selector);
        }
        if let Ok(amount) = text.parse::<Quantity>() {
            prop_assert_eq!(amount.text().parse::<Quantity>().unwrap(), amount);
        }
    }
}
