//! Definitions in the shapes of well-known projects, in our own words and sizes.

use serde_json::{Value, json};

use super::definition;

/// As cert-manager's Certificate: status, columns over conditions, categories, short names, enums, formats.
pub(crate) fn certificate() -> Value {
    let schema = json!({"type": "object", "required": ["spec"], "description": "A certificate that is kept valid.", "properties": {
        "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"},
        "spec": {"type": "object", "required": ["issuerRef", "secretName"], "properties": {
            "secretName": {"type": "string", "minLength": 1, "description": "Where the certificate is kept."},
            "dnsNames": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "atomic"},
            "duration": {"type": "string"},
            "isCA": {"type": "boolean"},
            "revisionHistoryLimit": {"type": "integer", "format": "int32", "default": 1, "minimum": 1},
            "privateKey": {"type": "object", "default": {}, "properties": {
                "algorithm": {"type": "string", "enum": ["RSA", "ECDSA", "Ed25519"], "default": "RSA"},
                "size": {"type": "integer", "default": 2048}}},
            "usages": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string",
                "enum": ["signing", "digital signature", "server auth", "client auth"]}},
            "issuerRef": {"type": "object", "required": ["name"], "properties": {
                "name": {"type": "string"}, "kind": {"type": "string", "default": "Issuer"}, "group": {"type": "string"}}}}},
        "status": {"type": "object", "properties": {
            "notAfter": {"type": "string", "format": "date-time"},
            "revision": {"type": "integer"},
            "conditions": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
                "items": {"type": "object", "required": ["type", "status"], "properties": {
                    "type": {"type": "string"}, "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                    "reason": {"type": "string"}}}}}}}});
    let mut crd = definition(
        "certs.example.com",
        "Certificate",
        "Namespaced",
        &json!([{
        "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}},
        "selectableFields": [{"jsonPath": ".spec.issuerRef.name"}],
        "additionalPrinterColumns": [
            {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
            {"name": "Secret", "type": "string", "jsonPath": ".spec.secretName"},
            {"name": "Issuer", "type": "string", "jsonPath": ".spec.issuerRef.name", "priority": 1},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]}]),
    );
    crd["spec"]["names"]["shortNames"] = json!(["cert", "certs"]);
    crd["spec"]["names"]["categories"] = json!(["cert-manager"]);
    crd
}

/// As the Prometheus operator's ServiceMonitor: endpoints with int-or-string ports, selectors, free-form parts.
pub(crate) fn service_monitor() -> Value {
    let schema = json!({"type": "object", "required": ["spec"], "properties": {
        "spec": {"type": "object", "required": ["endpoints", "selector"], "properties": {
            "jobLabel": {"type": "string"},
            "sampleLimit": {"type": "integer", "format": "int64"},
            "endpoints": {"type": "array", "items": {"type": "object", "properties": {
                "port": {"type": "string"},
                "targetPort": {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": true},
                "interval": {"type": "string", "pattern": "^(0|(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?)$"},
                "params": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
                "tlsConfig": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}},
            "selector": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {
                "matchLabels": {"type": "object", "additionalProperties": {"type": "string"}}}}}}}});
    definition("mon.example.com", "ServiceMonitor", "Namespaced", &json!([super::version("v1", &schema)]))
}

/// A cluster-scoped kind with a scale subresource.
pub(crate) fn fleet() -> Value {
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"replicas": {"type": "integer", "minimum": 0, "maximum": 10}, "selector": {"type": "string"}}},
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}}}}});
    definition(
        "scale.example.com",
        "Fleet",
        "Cluster",
        &json!([{
        "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}}}]),
    )
}
