//! node.k8s.io/v1 RuntimeClass.

use crate::deprecated::node_label;
use crate::pod_spec::{validate_limits, validate_tolerations};
use crate::shape::STORED;
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::validation::{At, ErrorList, names, validate_labels};
use mainstay_apiserver_machinery::value::Value;
use time::OffsetDateTime;

/// node.k8s.io/v1 RuntimeClass.
pub static RUNTIME_CLASS: Kind = Kind {
    group: "node.k8s.io",
    kind: "RuntimeClass",
    plural: "runtimeclasses",
    singular: "runtimeclass",
    namespaced: false,
    type_name: "node.k8s.io/v1.RuntimeClass",
    list_kind: "RuntimeClassList",
    rules: &RuntimeClass,
    storage: Some(Storage::new("runtimeclasses")),
    ..STORED
};

struct RuntimeClass;

impl Rules for RuntimeClass {
    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let selector = At::root(new).dig(&["scheduling", "nodeSelector"]);
        let old = selector.entries().filter_map(|(label, _)| node_label(label));
        old.map(|what| format!("{}: {what}", selector.path)).collect()
    }

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let class = At::root(object);
        let handler = class.get("handler");
        errors.invalid_each(&handler.path, handler.text(), names::dns_label(handler.text()));
        let overhead = class.get("overhead");
        // Upstream checks the overhead as if it were limits.
        let fixed = At::new(overhead.get("podFixed").value, overhead.path.child("limits"));
        validate_limits(&fixed, errors);
        let scheduling = class.get("scheduling");
        let selector = scheduling.get("nodeSelector");
        validate_labels(selector.map(), &selector.path, errors);
        let tolerations = scheduling.get("tolerations");
        validate_tolerations(&tolerations, errors);
        let listed: Vec<At<'_>> = tolerations.items().collect();
        for (i, toleration) in listed.iter().enumerate() {
            if listed.iter().take(i).any(|earlier| earlier.value == toleration.value) {
                errors.duplicate(&toleration.path, toleration.value.clone());
            }
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        At::root(new).get("handler").unchanged(errors, &At::root(old).get("handler"));
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("Handler", "The node's name for how it runs such pods."),
            table::AGE,
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        vec![table::name(object), table::text_or(object, &["handler"], ""), table::age(object, now)]
    }
}
