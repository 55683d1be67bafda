//! What clients look for in the documents.

use super::document::v2_document;
use super::gnostic;
use super::{v2, v2_protobuf, v3};
use crate::json::decode_free;
use crate::kind::{Action, Kind, Rules, STORED_VERBS, Storage, Subresource};
use crate::value;
use crate::value::Value;

struct NoRules;
impl Rules for NoRules {}

static DEPLOYMENT: Kind = Kind {
    group: "apps",
    version: "v1",
    kind: "Deployment",
    plural: "deployments",
    singular: "deployment",
    short_names: &["deploy"],
    categories: &["all"],
    namespaced: true,
    type_name: "apps/v1.Deployment",
    list_kind: "DeploymentList",
    verbs: STORED_VERBS,
    subresources: &[Subresource {
        name: "status",
        verbs: &["get", "patch", "update"],
        group: "apps",
        version: "v1",
        kind: "Deployment",
        type_name: "apps/v1.Deployment",
        action: Action::Status,
    }],
    rules: &NoRules,
    storage: Some(Storage::new("deployments")),
    is_custom: false,
};

#[test]
fn types_and_fields_are_described() {
    for (document, at) in
        [(v2(&[&DEPLOYMENT], &[]), &["definitions"][..]), (v3(&[&DEPLOYMENT]), &["components", "schemas"])]
    {
        let document = decode_free(&document).unwrap();
        let definitions = document.path_map(at).unwrap();
        let text = |path: &[&str]| {
            let found = definitions.get(path[0]).and_then(|ty| ty.path(&path[1..]));
            found.and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let spec = "io.k8s.api.apps.v1.DeploymentSpec";
        assert!(text(&[spec, "description"]).starts_with("DeploymentSpec is"));
        assert!(text(&[spec, "properties", "minReadySeconds", "description"]).contains("should be ready"));
        // One that refers to another type, and one whose name is a word of Rust.
        assert!(text(&[spec, "properties", "template", "description"]).contains("Template describes"));
        assert!(
            text(&["io.k8s.api.apps.v1.DeploymentCondition", "properties", "type", "description"])
                .contains("Type of")
        );
        let bare: Vec<_> = definitions
            .iter()
            .filter(|(name, _)| name.starts_with("io.k8s.api."))
            .flat_map(|(name, ty)| {
                ty.path_map(&["properties"]).into_iter().flatten().map(move |(field, of)| (name, field, of))
            })
            .filter(|(_, _, of)| of.path_str(&["description"]).is_none())
            .map(|(name, field, _)| format!("{name}.{field}"))
            .collect();
        assert_eq!(bare, Vec::<String>::new(), "fields without a word");
    }
}

/// Every `$ref` in a document.
fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::Map(map) => {
            for (key, value) in map {
                if key == "$ref" {
                    found.extend(value.as_str());
                }
                references(value, found);
            }
        }
        Value::List(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    for (bytes, at, prefix) in [
        (v2(&[&DEPLOYMENT], &[]), vec!["definitions"], "#/definitions/"),
        (v3(&[&DEPLOYMENT]), vec!["components", "schemas"], "#/components/schemas/"),
    ] {
        let document = decode_free(&bytes).unwrap();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 100);
        let definitions = document.path_map(&at).unwrap();
        for reference in found {
            assert!(definitions.contains_key(reference.strip_prefix(prefix).unwrap()), "{reference}");
        }
    }
}

#[test]
fn the_protobuf_form_loses_nothing() {
    let document = v2_document(&[&DEPLOYMENT]);
    assert_eq!(gnostic::coverage::lost(&document), Vec::<String>::new());
    let bytes = v2_protobuf(&[&DEPLOYMENT], &[]);
    // swagger: "2.0", then the info message with its title.
    assert!(bytes.starts_with(b"\x0a\x032.0\x12"));
    assert!(bytes.windows(9).any(|w| w == b"\x0a\x0aKuberne".get(..9).unwrap_or_default()));
}

#[test]
fn clients_find_the_kind_its_parameters_and_its_merge_keys() {
    let document = decode_free(&v3(&[&DEPLOYMENT])).unwrap();
    let path = "/apis/apps/v1/namespaces/{namespace}/deployments/{name}";
    let operation = document.path(&["paths", path, "patch"]).unwrap();
    assert_eq!(operation.path_str(&["x-kubernetes-group-version-kind", "kind"]), Some("Deployment"));
    assert!(operation.path(&["requestBody", "content", "application/strategic-merge-patch+json"]).is_some());
    let names: Vec<_> =
        operation.path_list(&["parameters"]).iter().filter_map(|p| p.path_str(&["name"])).collect();
    assert!(names.contains(&"fieldValidation") && names.contains(&"dryRun"), "{names:?}");
    let schemas = document.path(&["components", "schemas"]).unwrap();
    let kind = schemas.get("io.k8s.api.apps.v1.Deployment").unwrap();
    let gvk = &kind.path_list(&["x-kubernetes-group-version-kind"])[0];
    assert_eq!(gvk, &value!({"group": "apps", "version": "v1", "kind": "Deployment"}));
    let containers = schemas.path(&["io.k8s.api.core.v1.PodSpec", "properties", "containers"]).unwrap();
    assert_eq!(containers.path_str(&["x-kubernetes-patch-merge-key"]), Some("name"));
    assert_eq!(
        containers.path_str(&["items", "$ref"]),
        Some("#/components/schemas/io.k8s.api.core.v1.Container")
    );
    let spec = schemas.path(&["io.k8s.api.apps.v1.DeploymentSpec"]).unwrap();
    assert_eq!(spec.get("required"), Some(&value!(["selector", "template"])));
}
