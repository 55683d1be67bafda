//! storage.k8s.io/v1 VolumeAttachment.

use crate::core::volume::{validate_driver_name, validate_inline_spec};
use crate::shape::{Body, STORED};
use crate::status_update::restore_all_but_status;
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value::Value;
use time::OffsetDateTime;

const METADATA_BYTES_MAX: usize = 256 * 1024;
const MESSAGE_BYTES_MAX: usize = 1024;

/// storage.k8s.io/v1 VolumeAttachment.
pub static VOLUME_ATTACHMENT: Kind = Kind {
    group: "storage.k8s.io",
    kind: "VolumeAttachment",
    plural: "volumeattachments",
    singular: "volumeattachment",
    namespaced: false,
    type_name: "storage.k8s.io/v1.VolumeAttachment",
    list_kind: "VolumeAttachmentList",
    subresources: &[Body {
        group: "storage.k8s.io",
        version: "v1",
        kind: "VolumeAttachment",
        type_name: "storage.k8s.io/v1.VolumeAttachment",
    }
    .status()],
    rules: &VolumeAttachment,
    storage: Some(Storage::new("volumeattachments")),
    ..STORED
};

struct VolumeAttachment;

impl Rules for VolumeAttachment {
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let spec = At::root(object).get("spec");
        validate_spec(&spec, errors);
        validate_status(&At::root(object).get("status"), errors);
        let attacher = spec.get("attacher");
        if !attacher.is_empty() {
            validate_driver_name(&attacher, errors);
        }
        let volume = spec.dig(&["source", "persistentVolumeName"]);
        if volume.is_set() {
            volume.invalid_each(errors, names::dns_subdomain(volume.text()));
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        let (attachment, before) = (At::root(new), At::root(old));
        validate_spec(&attachment.get("spec"), errors);
        validate_status(&attachment.get("status"), errors);
        attachment.get("spec").unchanged(errors, &before.get("spec"));
    }

    fn prepare_status(&self, new: &mut Value, old: &Value) {
        restore_all_but_status(new, old);
    }

    fn validate_status(&self, new: &Value, _old: &Value, errors: &mut ErrorList) {
        validate_status(&At::root(new).get("status"), errors);
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column { format: "name", ..Column::new("Attacher", "The driver that attaches.") },
            Column::new("PV", "The volume."),
            Column::new("Node", "The node."),
            Column::new("Attached", "Whether the volume is attached.").of_type("boolean"),
            table::AGE,
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let text = |path: &[&str]| table::text_or(object, path, "");
        vec![
            table::name(object),
            text(&["spec", "attacher"]),
            text(&["spec", "source", "persistentVolumeName"]),
            text(&["spec", "nodeName"]),
            table::flag(object, &["status", "attached"]),
            table::age(object, now),
        ]
    }
}

fn validate_spec(spec: &At<'_>, errors: &mut ErrorList) {
    spec.get("attacher").require(errors, "");
    let source = spec.get("source");
    let (inline, name) = (source.get("inlineVolumeSpec"), source.get("persistentVolumeName"));
    let text = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (inline.is_set(), name.is_set()) {
        (false, false) => errors.required(&source.path, text),
        (true, true) => errors.forbidden(&source.path, text),
        (false, true) => drop(name.require(errors, "must specify non empty persistentVolumeName")),
        (true, false) => validate_inline_spec(&inline, errors),
    }
    let node = spec.get("nodeName");
    errors.invalid_each(&node.path, node.text(), names::dns_subdomain(node.text()));
}

fn validate_status(status: &At<'_>, errors: &mut ErrorList) {
    let metadata = status.get("attachmentMetadata");
    let bytes: usize = metadata.entries().map(|(key, value)| key.len() + value.text().len()).sum();
    if bytes > METADATA_BYTES_MAX {
        errors.too_long(&metadata.path, METADATA_BYTES_MAX);
    }
    for field in ["attachError", "detachError"] {
        let error = status.get(field);
        let message = error.get("message");
        if message.text().len() > MESSAGE_BYTES_MAX {
            // Upstream tells this limit, not that of messages.
            errors.too_long(&message.path, METADATA_BYTES_MAX);
        }
        let code = error.get("errorCode");
        if code.int().is_some_and(|code| code < 0) {
            code.invalid(errors, "must be between 0 and 2147483647, inclusive");
        }
    }
}
