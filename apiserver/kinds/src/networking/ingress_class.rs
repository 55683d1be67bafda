//! networking.k8s.io/v1 IngressClass.

use crate::formats::{validate_domain_prefixed_path, validate_length, validate_typed_reference};
use crate::shape::STORED;
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value::Value;
use time::OffsetDateTime;

const CONTROLLER_BYTES_MAX: usize = 250;

/// networking.k8s.io/v1 IngressClass.
pub static INGRESS_CLASS: Kind = Kind {
    group: "networking.k8s.io",
    kind: "IngressClass",
    plural: "ingressclasses",
    singular: "ingressclass",
    namespaced: false,
    type_name: "networking.k8s.io/v1.IngressClass",
    list_kind: "IngressClassList",
    rules: &IngressClass,
    storage: Some(Storage::new("ingressclasses")),
    ..STORED
};

struct IngressClass;

impl Rules for IngressClass {
    fn default(&self, object: &mut Value) {
        let parameters = object.path_mut(&["spec", "parameters"]).and_then(Value::as_map_mut);
        if let Some(parameters) = parameters {
            parameters.get_or_insert("scope", || "Cluster".into());
        }
    }

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let spec = At::root(object).get("spec");
        let controller = spec.get("controller");
        validate_length(&controller, CONTROLLER_BYTES_MAX, errors);
        validate_domain_prefixed_path(&controller, errors);
        let parameters = spec.get("parameters");
        if parameters.is_set() {
            validate_typed_reference(&parameters, errors);
            validate_scope(&parameters, errors);
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        let controller: &[&str] = &["spec", "controller"];
        At::root(new).dig(controller).unchanged(errors, &At::root(old).dig(controller));
        self.validate(new, errors);
    }

    fn tracks_generation(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("Controller", "Who serves ingresses of the class."),
            Column::new("Parameters", "An object with more settings."),
            table::AGE,
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let meta = Meta(object);
        let default = meta.annotation("ingressclass.kubernetes.io/is-default-class") == Some("true");
        let name = if default { format!("{} (default)", meta.name()) } else { meta.name().to_owned() };
        let text = |field: &str| object.path_str(&["spec", "parameters", field]).unwrap_or_default();
        let parameters = match (object.path(&["spec", "parameters"]), text("apiGroup")) {
            (None, _) => String::from("<none>"),
            (Some(_), "") => format!("{}/{}", text("kind"), text("name")),
            (Some(_), group) => format!("{}.{group}/{}", text("kind"), text("name")),
        };
        vec![
            name.into(),
            table::text_or(object, &["spec", "controller"], ""),
            parameters.into(),
            table::age(object, now),
        ]
    }
}

fn validate_scope(parameters: &At<'_>, errors: &mut ErrorList) {
    let (scope, namespace) = (parameters.get("scope"), parameters.get("namespace"));
    match scope.text() {
        "" if !scope.is_set() => errors.required(&scope.path, ""),
        "Namespace" if !namespace.is_set() => {
            errors.required(&namespace.path, "`parameters.scope` is set to 'Namespace'");
        }
        "Namespace" => namespace.invalid_each(errors, names::dns_label(namespace.text())),
        "Cluster" if namespace.is_set() => {
            errors.forbidden(&namespace.path, "`parameters.scope` is set to 'Cluster'");
        }
        "Cluster" => {}
        other => errors.not_supported(&scope.path, other, &["Cluster", "Namespace"]),
    }
}
