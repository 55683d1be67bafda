//! apiextensions.k8s.io/v1 CustomResourceDefinition.

use super::rules::DefinitionRules;
use mainstay_apiserver_machinery::kind::{Action, Kind, STORED_VERBS, Storage, Subresource};

/// apiextensions.k8s.io/v1 CustomResourceDefinition.
pub static CUSTOM_RESOURCE_DEFINITION: Kind = Kind {
    group: "apiextensions.k8s.io",
    version: "v1",
    kind: "CustomResourceDefinition",
    plural: "customresourcedefinitions",
    singular: "customresourcedefinition",
    short_names: &["crd", "crds"],
    categories: &["api-extensions"],
    namespaced: false,
    type_name: "apiextensions.k8s.io/v1.CustomResourceDefinition",
    list_kind: "CustomResourceDefinitionList",
    verbs: STORED_VERBS,
    subresources: &[Subresource {
        name: "status",
        verbs: &["get", "patch", "update"],
        group: "apiextensions.k8s.io",
        version: "v1",
        kind: "CustomResourceDefinition",
        type_name: "apiextensions.k8s.io/v1.CustomResourceDefinition",
        action: Action::Status,
    }],
    rules: &DefinitionRules,
    storage: Some(Storage::new("apiextensions.k8s.io/customresourcedefinitions")),
    is_custom: false,
};
