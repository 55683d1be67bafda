//! Applies and updates as scripts: who does what, and who owns what afterwards.

use super::*;
use crate::json::{decode_free, to_string};
use crate::object::Meta;
use crate::schema::lookup;
use crate::value::Value;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn read(text: &str) -> Value {
    decode_free(text.as_bytes()).unwrap()
}

/// An object of a type and what happens to it.
struct Bench {
    shape: Shape<'static>,
    api_version: &'static str,
    live: Value,
    seconds: u32,
}

impl Bench {
    fn new(type_name: &str, api_version: &'static str) -> Self {
        Self { shape: Shape::of(lookup(type_name).unwrap()), api_version, live: Value::map(), seconds: 0 }
    }

    fn write<T>(&mut self, manager: &str, subresource: &str, act: impl FnOnce(&Self, Writing<'_>) -> T) -> T {
        self.seconds += 1;
        let now = format!("2026-01-01T00:00:{:02}Z", self.seconds);
        let reset = FieldSet::of_names(if subresource.is_empty() { &[&["status"]] } else { &[&["spec"]] });
        let writing =
            Writing { manager, api_version: self.api_version, subresource, now: &now, reset: &reset };
        act(self, writing)
    }

    fn apply(&mut self, manager: &str, config: &str, force: bool) -> Result<(), ApplyError> {
        let config = read(config);
        let object = self.write(manager, "", |bench, writing| {
            apply(Application { shape: bench.shape, live: &bench.live, config: &config, writing, force })
        })?;
        self.store(object);
        Ok(())
    }

    fn store(&mut self, mut object: Value) {
        object.set_path(&["metadata", "uid"], "u");
        self.live = object;
    }

    fn update(&mut self, manager: &str, subresource: &str, object: &str) {
        let mut object = read(object);
        if !Meta(&self.live).uid().is_empty() {
            object.set_path(&["metadata", "uid"], "u");
        }
        self.write(manager, subresource, |bench, writing| {
            track_update(bench.shape, &bench.live, &mut object, &writing);
        });
        self.store(object);
    }

    /// Every owner with its fields, one per line.
    fn owners(&self) -> Vec<String> {
        let entries = Meta(&self.live).managed_fields().iter();
        let line = |entry: &Value| {
            let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let fields = to_string(entry.get("fieldsV1").unwrap());
            format!("{} {} {fields}", text("manager"), text("operation"))
        };
        entries.map(line).collect()
    }

    fn plain(&self) -> String {
        let mut object = self.live.clone();
        object.remove_path(&["metadata", "managedFields"]);
        object.remove_path(&["metadata", "uid"]);
        to_string(&object)
    }
}

#[test]
fn what_is_no_longer_applied_goes_unless_somebody_else_owns_it() {
    let mut map = Bench::new("core/v1.ConfigMap", "v1");
    map.apply("a", r#"{"metadata":{"name":"m","labels":{"x":"1"}},"data":{"one":"1","two":"2"}}"#, false)
        .unwrap();
    map.apply("b", r#"{"metadata":{"name":"m"},"data":{"two":"2","three":"3"}}"#, false).unwrap();
    map.apply("a", r#"{"metadata":{"name":"m"},"data":{"one":"1"}}"#, false).unwrap();
    assert_eq!(map.plain(), r#"{"data":{"one":"1","three":"3","two":"2"},"metadata":{"name":"m"}}"#);
    assert_eq!(
        map.owners(),
        [r#"b Apply {"f:data":{"f:three":{},"f:two":{}}}"#, r#"a Apply {"f:data":{"f:one":{}}}"#,]
    );
}

#[test]
fn a_conflict_names_owner_and_field_and_force_takes_it() {
    let mut map = Bench::new("core/v1.ConfigMap", "v1");
    map.apply("a", r#"{"data":{"one":"1","two":"2"}}"#, false).unwrap();
    let error = map.apply("b", r#"{"data":{"one":"9"}}"#, false).unwrap_err();
    let status = error.to_status();
    assert_eq!(status.message, r#"Apply failed with 1 conflict: conflict with "a": .data.one"#);
    let cause = &status.details.as_ref().unwrap().causes[0];
    assert_eq!(
        (status.code, cause.reason.as_str(), cause.message.as_str(), cause.field.as_str()),
        (409, "FieldManagerConflict", r#"conflict with "a""#, ".data.one")
    );
    map.apply("b", r#"{"data":{"one":"9"}}"#, true).unwrap();
    assert_eq!(map.owners(), [r#"a Apply {"f:data":{"f:two":{}}}"#, r#"b Apply {"f:data":{"f:one":{}}}"#]);
    let many = map.apply("c", r#"{"data":{"one":"0","two":"0"}}"#, false).unwrap_err().to_status();
    assert_eq!(
        many.message,
        "Apply failed with 2 conflicts: conflicts with \"a\":\n- .data.two\nconflicts with \"b\":\n- .data.one"
    );
}

#[test]
fn an_equal_apply_changes_neither_object_nor_owners() {
    let config = r#"{"spec":{"replicas":3,"template":{"spec":{"containers":[{"name":"a","ports":[{"containerPort":80}]}]}}}}"#;
    let mut deployment = Bench::new("apps/v1.Deployment", "apps/v1");
    deployment.apply("a", config, false).unwrap();
    let before = deployment.live.clone();
    deployment.apply("a", config, false).unwrap();
    assert_eq!(deployment.live, before);
}

#[test]
fn an_update_takes_what_it_changes() {
    let mut service = Bench::new("core/v1.Service", "v1");
    service.update("kubectl-create", "", r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"s","labels":{"a":"b"}},"spec":{"ports":[{"port":80,"protocol":"TCP","targetPort":80}],"type":"ClusterIP"},"status":{"loadBalancer":{}}}"#);
    assert_eq!(
        service.owners(),
        [
            r#"kubectl-create Update {"f:metadata":{"f:labels":{".":{},"f:a":{}}},"f:spec":{"f:ports":{".":{},"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:port":{},"f:protocol":{},"f:targetPort":{}}},"f:type":{}}}"#
        ]
    );
    service.update("edit", "", r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"s"},"spec":{"ports":[{"port":80,"protocol":"TCP","targetPort":81}],"type":"ClusterIP"},"status":{"loadBalancer":{}}}"#);
    assert_eq!(
        service.owners(),
        [
            r#"kubectl-create Update {"f:spec":{"f:ports":{".":{},"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:port":{},"f:protocol":{}}},"f:type":{}}}"#,
            r#"edit Update {"f:spec":{"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{"f:targetPort":{}}}}}"#,
        ]
    );
}

#[test]
fn owners_by_update_beyond_ten_are_joined() {
    let mut map = Bench::new("core/v1.ConfigMap", "v1");
    for n in 0..14 {
        let data: Vec<String> = (0..=n).map(|n| format!(r#""k{n}":"v""#)).collect();
        map.update(&format!("m{n}"), "", &format!(r#"{{"data":{{{}}}}}"#, data.join(",")));
    }
    let owners = map.owners();
    assert_eq!(owners.len(), 10, "{owners:#?}");
    assert!(owners[0].starts_with("ancient-changes Update"), "{owners:#?}");
    assert!(owners[0].contains("f:k0") && owners[0].contains("f:k4"), "{owners:#?}");
}

#[test]
fn clients_may_rewrite_and_drop_owners() {
    let mut map = Bench::new("core/v1.ConfigMap", "v1");
    map.update("a", "", r#"{"data":{"k":"v"}}"#);
    let rewritten = r#"{"data":{"k":"v"},"metadata":{"managedFields":[{"manager":"b","operation":"Apply","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:data":{"f:k":{}}}}]}}"#;
    map.update("x", "", rewritten);
    assert_eq!(map.owners(), [r#"b Apply {"f:data":{"f:k":{}}}"#]);
    map.update(
        "x",
        "",
        r#"{"data":{"k":"v"},"metadata":{"managedFields":[{"manager":"b","operation":"Wrong"}]}}"#,
    );
    assert_eq!(map.owners(), [r#"b Apply {"f:data":{"f:k":{}}}"#], "nonsense changes nothing");
    map.update("x", "", r#"{"data":{"k":"v"},"metadata":{"managedFields":[{}]}}"#);
    assert!(map.owners().is_empty());
    map.update("x", "", r#"{"data":{"k":"w"}}"#);
    assert!(map.owners().is_empty(), "nobody is followed until the next apply");
    map.apply("b", r#"{"data":{"k":"w"}}"#, false).unwrap();
    assert_eq!(
        map.owners(),
        [r#"b Apply {"f:data":{"f:k":{}}}"#, r#"before-first-apply Update {"f:data":{".":{},"f:k":{}}}"#]
    );
}

#[test]
fn kubectl_takes_over_what_it_applied_on_the_client() {
    let applied = r#"{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"m\"},\"data\":{\"k\":\"v\"}}"#;
    let object = format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"m","annotations":{{"{LAST_APPLIED_ANNOTATION}":"{applied}"}}}},"data":{{"k":"v","other":"o"}}}}"#
    );
    let config = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"},"data":{"k":"w"}}"#;
    let mut map = Bench::new("core/v1.ConfigMap", "v1");
    map.update("kubectl-client-side-apply", "", &object);
    assert!(map.apply("ci", config, false).is_err(), "only kubectl may");
    map.apply("kubectl", config, false).unwrap();
    let kept = Meta(&map.live).annotation(LAST_APPLIED_ANNOTATION).unwrap();
    assert_eq!(kept.trim_end(), to_string(&read(config)));
    let other = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"},"data":{"other":"w"}}"#;
    let status = map.apply("kubectl", other, false).unwrap_err().to_status();
    assert!(
        status.message.ends_with(r#""kubectl-client-side-apply" using v1: .data.other"#),
        "{}",
        status.message
    );
}

#[test]
fn what_does_not_fit_the_schema_is_told_as_upstream_does() {
    let mut deployment = Bench::new("apps/v1.Deployment", "apps/v1");
    let mut refused = |config: &str| deployment.apply("a", config, false).unwrap_err().to_status().message;
    let object = r#""apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d","namespace":"n"}"#;
    assert_eq!(
        refused(&format!(r#"{{{object},"spec":{{"nope":1}}}}"#)),
        "failed to create typed patch object (n/d; apps/v1, Kind=Deployment): .spec.nope: field not declared in schema"
    );
    assert_eq!(
        refused(&format!(r#"{{{object},"spec":{{"replicas":"3"}}}}"#)),
        "failed to create typed patch object (n/d; apps/v1, Kind=Deployment): .spec.replicas: expected numeric (int or float), got string"
    );
    assert_eq!(
        refused(&format!(
            r#"{{{object},"spec":{{"template":{{"spec":{{"containers":[{{"name":"a"}},{{"name":"a"}}]}}}}}}}}"#
        )),
        "failed to create typed patch object (n/d; apps/v1, Kind=Deployment): .spec.template.spec.containers: duplicate entries for key [name=\"a\"]"
    );
    assert_eq!(refused(r#"{"metadata":{"managedFields":[]}}"#), "metadata.managedFields must be nil");
}

#[test]
fn a_replica_count_is_owned_through_its_scale() {
    let mut deployment = Bench::new("apps/v1.Deployment", "apps/v1");
    deployment.apply("a", r#"{"spec":{"replicas":3,"paused":true}}"#, false).unwrap();
    let owners = Meta(&deployment.live).managed_fields().to_vec();
    let count = &["spec", "replicas"];
    let mut scale = crate::value!({"spec": {"replicas": 3}, "metadata": {"uid": "u"}});
    scale.set_path(&["metadata", "managedFields"], to_scale(&owners, "apps/v1", count));
    let current = scale.clone();
    scale.set_path(&["spec", "replicas"], 5);
    let reset = FieldSet::new();
    let writing = Writing {
        manager: "hpa",
        api_version: "autoscaling/v1",
        subresource: "scale",
        now: "t",
        reset: &reset,
    };
    track_update(Shape::of(lookup("autoscaling/v1.Scale").unwrap()), &current, &mut scale, &writing);
    let after = from_scale(&owners, Meta(&scale).managed_fields(), "apps/v1", count);
    deployment.live.set_path(&["metadata", "managedFields"], after);
    assert_eq!(
        deployment.owners(),
        [r#"a Apply {"f:spec":{"f:paused":{}}}"#, r#"hpa Update {"f:spec":{"f:replicas":{}}}"#]
    );
    let entry = &Meta(&deployment.live).managed_fields()[1];
    assert_eq!(
        (entry.path_str(&["apiVersion"]), entry.path_str(&["subresource"])),
        (Some("apps/v1"), Some("scale"))
    );
}

/// The reference: an object is a flat map, owners are sets of its keys, everything is a loop over keys.
#[derive(Debug, Clone, Default)]
struct Model {
    values: BTreeMap<String, i64>,
    appliers: BTreeMap<String, BTreeSet<String>>,
    updaters: BTreeMap<String, BTreeSet<String>>,
}

type Flat = BTreeMap<String, i64>;

impl Model {
    fn owned_by_others(&self, manager: &str, key: &str) -> bool {
        self.appliers.iter().any(|(name, keys)| name != manager && keys.contains(key))
            || self.updaters.values().any(|keys| keys.contains(key))
    }

    /// False for a conflict.
    fn apply(&mut self, manager: &str, config: &Flat, force: bool) -> bool {
        let changed: Vec<String> =
            config.iter().filter(|(k, v)| self.values.get(*k) != Some(v)).map(|(k, _)| k.clone()).collect();
        if !force && changed.iter().any(|key| self.owned_by_others(manager, key)) {
            return false;
        }
        let last =
            self.appliers.insert(manager.to_owned(), config.keys().cloned().collect()).unwrap_or_default();
        for key in last {
            if !config.contains_key(&key) && !self.owned_by_others(manager, &key) {
                self.values.remove(&key);
            }
        }
        for key in changed {
            self.disown(&key, Some(manager));
        }
        self.values.extend(config.clone());
        true
    }

    fn update(&mut self, manager: &str, values: &Flat) {
        let before = std::mem::replace(&mut self.values, values.clone());
        for key in before.keys().chain(values.keys()) {
            if before.get(key) != values.get(key) {
                self.disown(key, None);
                if values.contains_key(key) {
                    self.updaters.entry(manager.to_owned()).or_default().insert(key.clone());
                }
            }
        }
    }

    fn disown(&mut self, key: &str, spared: Option<&str>) {
        for (name, keys) in &mut self.appliers {
            if Some(name.as_str()) != spared {
                keys.remove(key);
            }
        }
        for keys in self.updaters.values_mut() {
            keys.remove(key);
        }
    }
}

/// Where a key of the model stands in a real object: members of two maps. Items of lists have owners of their own,
/// apart from those of their fields, which the model does not know.
fn realise(flat: &Flat) -> Value {
    let mut object = Value::map();
    for (key, value) in flat {
        match key.split_at(1) {
            ("d", rest) => object.set_path(&["metadata", "annotations", rest], value.to_string()),
            (_, rest) => object.set_path(&["spec", "overhead", rest], value.to_string()),
        }
    }
    object
}

/// The model's view of a real object.
fn flatten(object: &Value) -> Flat {
    let mut flat = Flat::new();
    for (key, value) in object.path_map(&["metadata", "annotations"]).into_iter().flatten() {
        flat.insert(format!("d{key}"), value.as_str().unwrap().parse().unwrap());
    }
    for (key, value) in object.path_map(&["spec", "overhead"]).into_iter().flatten() {
        flat.insert(format!("e{key}"), value.as_str().unwrap().parse().unwrap());
    }
    flat
}

fn flat() -> impl Strategy<Value = Flat> {
    proptest::collection::btree_map("[de][a-c]", 0..3_i64, 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn applies_and_updates_agree_with_the_model(steps in proptest::collection::vec((0..3_u8, 0..3_u8, flat()), 1..8)) {
        let mut model = Model::default();
        let mut real = Bench::new("core/v1.Pod", "v1");
        real.update("creator", "", "{}");
        real.live.remove_path(&["metadata", "managedFields"]);
        // Somebody owns something from the start, so that owners are followed.
        real.apply("root", r#"{"metadata":{"labels":{"root":"1"}}}"#, false).unwrap();
        for (who, how, values) in steps {
            let manager = format!("m{who}");
            if how == 2 {
                model.update(&manager, &values);
                let mut object = realise(&values);
                object.set_path(&["metadata", "labels", "root"], "1");
                real.update(&manager, "", &to_string(&object));
            } else {
                let force = how == 1;
                let agreed = model.apply(&manager, &values, force);
                let outcome = real.apply(&manager, &to_string(&realise(&values)), force);
                prop_assert_eq!(outcome.is_ok(), agreed, "{:?}", outcome);
            }
            prop_assert_eq!(flatten(&real.live), model.values.clone(), "owners {:#?}", real.owners());
        }
    }

    #[test]
    fn an_apply_of_all_that_is_there_changes_nothing(values in flat()) {
        let mut real = Bench::new("core/v1.Pod", "v1");
        real.update("creator", "", &to_string(&realise(&values)));
        let before = flatten(&real.live);
        real.apply("a", &to_string(&realise(&values)), false).unwrap();
        prop_assert_eq!(flatten(&real.live), before);
    }
}

#[test]
fn custom_resources_are_owned_as_their_schema_says() {
    let schema = read(
        r#"{"type":"object","properties":{"spec":{"type":"object","properties":{
            "size":{"type":"integer"},
            "port":{"x-kubernetes-int-or-string":true},
            "free":{"type":"object","x-kubernetes-preserve-unknown-fields":true},
            "tags":{"type":"array","x-kubernetes-list-type":"set","items":{"type":"string"}},
            "names":{"type":"array","items":{"type":"string"}},
            "whole":{"type":"object","x-kubernetes-map-type":"atomic","additionalProperties":{"type":"string"}},
            "listeners":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["name","protocol"],
                "items":{"type":"object","required":["name"],"properties":{
                    "name":{"type":"string"},"protocol":{"type":"string","default":"TCP"},"port":{"type":"integer"}}}}
        }}}}"#,
    );
    let schema = crate::structural::parse(&schema).unwrap();
    let shape = Shape::of_custom(lookup(crate::schema::CUSTOM_OBJECT).unwrap(), &schema);
    let config = read(
        r#"{"apiVersion":"a/v1","kind":"A","metadata":{"labels":{"a":"b"}},"spec":{"size":1,"port":"http",
            "free":{"x":{"y":1}},"tags":["a"],"names":["n"],"whole":{"k":"v"},"listeners":[{"name":"l","port":1}]}}"#,
    );
    assert_eq!(
        field_set(shape, &config).unwrap().paths(),
        [
            ".apiVersion",
            ".kind",
            ".metadata.labels.a",
            ".spec.names",
            ".spec.port",
            ".spec.size",
            ".spec.whole",
            ".spec.free.x",
            ".spec.free.x.y",
            ".spec.listeners[name=\"l\",protocol=\"TCP\"]",
            ".spec.listeners[name=\"l\",protocol=\"TCP\"].name",
            ".spec.listeners[name=\"l\",protocol=\"TCP\"].port",
            ".spec.tags[=\"a\"]",
        ]
        .map(str::to_owned)
        .to_vec()
    );
    let live = read(
        r#"{"spec":{"tags":["b"],"names":["old"],"listeners":[{"name":"l","protocol":"TCP","port":9},{"name":"m","protocol":"UDP"}]}}"#,
    );
    let merged = merge(shape, &live, &config).unwrap();
    assert_eq!(
        to_string(merged.path(&["spec", "listeners"]).unwrap()),
        r#"[{"name":"l","port":1,"protocol":"TCP"},{"name":"m","protocol":"UDP"}]"#
    );
    assert_eq!(to_string(merged.path(&["spec", "tags"]).unwrap()), r#"["b","a"]"#);
    assert_eq!(to_string(merged.path(&["spec", "names"]).unwrap()), r#"["n"]"#);
}
