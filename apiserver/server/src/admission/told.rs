//! What webhooks and policies are told of a request beyond what it holds.

use mainstay_apiserver_kinds::NAMESPACE;
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;

use crate::types::AdmissionRequest;

/// Group, version and kind of what a request to `kind` carries: the kind's own, or that of its subresource's body (a Scale, an Eviction).
pub(super) fn body_kind(kind: &Kind, subresource: &str) -> Value {
    match kind.subresource(subresource) {
        Some(sub) => value!({"group": sub.group, "version": sub.version, "kind": sub.kind}),
        None => value!({"group": kind.group, "version": kind.version, "kind": kind.kind}),
    }
}

/// The namespace of a request; a Namespace is in itself, as upstream says.
pub(super) fn namespace(request: &AdmissionRequest) -> &str {
    if *request.kind == NAMESPACE { &request.name } else { &request.namespace }
}
