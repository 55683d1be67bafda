//! The kind itself: names, subresources and the order of its rules.

use super::{ephemeral, resize, row, status, update};
use crate::gates;
use crate::pod_spec::{
    Holder, Subject, add_match_label_keys, default_pod, name_warning, qos_class, validate_pod_annotations,
    validate_pod_annotations_update, validate_profiles_match, validate_spec, warnings,
};
use crate::shape::{Body, CREATE, PART_VERBS, PROXY_VERBS, STORED};
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage, restore, restore_meta};
use mainstay_apiserver_machinery::validation::{At, ErrorList};
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;
use smol_str::SmolStr;
use time::OffsetDateTime;

/// Verbs of a subresource that opens a stream.
const STREAM_VERBS: &[&str] = &["create", "get"];

/// core/v1 Pod.
pub static POD: Kind = Kind {
    kind: "Pod",
    plural: "pods",
    singular: "pod",
    short_names: &["po"],
    categories: &["all"],
    type_name: "core/v1.Pod",
    list_kind: "PodList",
    subresources: &[
        Body::core("PodAttachOptions", "core/v1.PodAttachOptions").connect("attach", STREAM_VERBS),
        Body::core("Binding", "core/v1.Binding").connect("binding", CREATE),
        Body::core("Pod", "core/v1.Pod").part("ephemeralcontainers", PART_VERBS),
        Body { group: "policy", version: "v1", kind: "Eviction", type_name: "policy/v1.Eviction" }
            .connect("eviction", CREATE),
        Body::core("PodExecOptions", "core/v1.PodExecOptions").connect("exec", STREAM_VERBS),
        Body::core("Pod", "core/v1.Pod").connect("log", &["get"]),
        Body::core("PodPortForwardOptions", "core/v1.PodPortForwardOptions")
            .connect("portforward", STREAM_VERBS),
        Body::core("PodProxyOptions", "core/v1.PodProxyOptions").connect("proxy", PROXY_VERBS),
        Body::core("Pod", "core/v1.Pod").part("resize", PART_VERBS),
        Body::core("Pod", "core/v1.Pod").status(),
    ],
    rules: &Pod,
    storage: Some(Storage::new("pods")),
    ..STORED
};

struct Pod;

/// Of the features `CSIVolumeHealth` and `DRANodeAllocatableResources`.
const GATED_STATUS: &[&[&str]] =
    &[&["status", "volumeHealth"], &["status", "nodeAllocatableResourceClaimStatuses"]];

const FIELDS: &[&str] = &[
    "spec.host",
    "spec.hostNetwork",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.nominatedNodeName",
    "status.phase",
    "status.podIP",
    "status.podIPs",
];

impl Rules for Pod {
    fn default(&self, object: &mut Value) {
        default_pod(object);
    }

    fn prepare_create(&self, object: &mut Value) {
        let class = object.get("spec").map_or("BestEffort", qos_class);
        let mut status = value!({"phase": "Pending", "qosClass": class});
        if !object.path_list(&["spec", "schedulingGates"]).is_empty() {
            let blocked = value!([{
                "type": "PodScheduled",
                "status": "False",
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }]);
            status.set_path(&["conditions"], blocked);
        }
        object.set_path(&["status"], status);
        add_match_label_keys(object);
    }

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let pod = At::root(object);
        let spec = pod.get("spec");
        let annotations = pod.dig(&["metadata", "annotations"]);
        validate_pod_annotations(&annotations, &spec, errors);
        validate_spec(&spec, holder(object), errors);
        validate_profiles_match(&annotations, &spec, errors);
        if spec.get("serviceAccountName").is_empty() {
            let volumes = spec.get("volumes").items();
            for source in volumes.flat_map(|volume| volume.dig(&["projected", "sources"]).items()) {
                let token = source.get("serviceAccountToken");
                if token.is_set() {
                    errors.forbidden(&token.path, "must not be specified when serviceAccountName is not set");
                }
            }
        }
        let ephemeral = spec.get("ephemeralContainers");
        if !ephemeral.is_empty() {
            errors.forbidden(&ephemeral.path, "cannot be set on create");
        }
        let node = spec.get("nodeName");
        if !node.is_empty() && !spec.get("schedulingGates").is_empty() {
            errors.forbidden(&node.path, "cannot be set until all schedulingGates have been cleared");
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
        let annotations = |pod| At::root(pod).dig(&["metadata", "annotations"]);
        validate_pod_annotations_update(&annotations(new), &annotations(old), errors);
        validate_pod_annotations(&annotations(new), &spec, errors);
        update::validate(&spec, &before, errors);
        if spec.value != before.value {
            validate_spec(&spec, holder(new), errors);
        }
    }

    fn drop_gated(&self, new: &mut Value, old: Option<&Value>) {
        gates::drop_in_pod(new, old, &["spec"]);
        gates::drop_fields(new, old, GATED_STATUS);
    }

    fn prepare_status(&self, new: &mut Value, old: &Value) {
        restore(new, old, "spec");
        restore_meta(new, old, "ownerReferences");
        let unset = new.path_str(&["status", "qosClass"]).unwrap_or_default().is_empty();
        if let Some(class) = old.path(&["status", "qosClass"]).filter(|_| unset) {
            new.set_path(&["status", "qosClass"], class.clone());
        }
    }

    fn validate_status(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        status::validate(new, old, errors);
    }

    fn prepare_subresource(&self, name: &str, new: &mut Value, old: &Value) -> Result<(), Status> {
        restore(new, old, "status");
        match name {
            "ephemeralcontainers" => ephemeral::prepare(new, old),
            "resize" => resize::prepare(new, old),
            other => {
                return Err(Status::bad_request(format!("pods have no subresource {other:?} to update")));
            }
        }
        Ok(())
    }

    fn validate_subresource(&self, name: &str, new: &Value, old: &Value, errors: &mut ErrorList) {
        match name {
            "ephemeralcontainers" => ephemeral::validate(new, old, errors),
            _ => resize::validate(new, old, errors),
        }
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut out = Vec::new();
        // Updates come from controllers and agents, often: upstream looks at none of them.
        if old.is_none() {
            out.extend(name_warning(new, "the Pod's hostname"));
            warnings(&At::root(new), Subject::Pod, &mut out);
        }
        out
    }

    fn tracks_generation(&self) -> bool {
        true
    }

    fn graceful_delete_seconds(&self, object: &Value, requested: Option<i64>) -> Option<i64> {
        let own = object.path_i64(&["spec", "terminationGracePeriodSeconds"]);
        let unscheduled = object.path_str(&["spec", "nodeName"]).unwrap_or_default().is_empty();
        let ended = matches!(object.path_str(&["status", "phase"]), Some("Failed" | "Succeeded"));
        let seconds = if unscheduled || ended { 0 } else { requested.or(own).unwrap_or_default() };
        Some(if seconds < 0 { 1 } else { seconds })
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        row::COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        row::row(object, now)
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        FIELDS
    }

    fn indexed_fields(&self) -> &'static [&'static str] {
        &["spec.nodeName"]
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, SmolStr)> {
        FIELDS.iter().map(|field| (*field, field_of(object, field))).collect()
    }
}

fn field_of(pod: &Value, field: &str) -> SmolStr {
    let first_ip = || pod.path_list(&["status", "podIPs"]).first().and_then(|ip| ip.path_str(&["ip"]));
    match field {
        "spec.host" => field_of(pod, "spec.nodeName"),
        "spec.hostNetwork" => {
            let host = pod.path_bool(&["spec", "hostNetwork"]).unwrap_or_default();
            if host { "true".into() } else { "false".into() }
        }
        "status.podIP" | "status.podIPs" => {
            first_ip().or_else(|| pod.path_str(&["status", "podIP"])).unwrap_or_default().into()
        }
        _ => {
            let (outer, inner) = field.split_once('.').unwrap_or_default();
            pod.path_str(&[outer, inner]).unwrap_or_default().into()
        }
    }
}

/// Whose the spec of this pod is.
pub(super) fn holder(pod: &Value) -> Holder<'_> {
    Holder::Pod { name: pod.path_str(&["metadata", "name"]).unwrap_or_default() }
}
