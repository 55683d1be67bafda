//! core/v1 PersistentVolume.

use super::modes::{CLASS_ANNOTATION, short_modes};
use super::volume_spec::{sources, validate_spec};
use crate::core::pod::list_differences;
use crate::deprecated::{STORAGE_CLASS_FIELD, annotation, expressions};
use crate::pod_spec::old_volumes;
use crate::shape::{Body, STORED};
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::validation::{At, ErrorList, FIELD_IS_IMMUTABLE, Path};
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::{Map, Value};
use time::OffsetDateTime;

/// core/v1 PersistentVolume.
pub static PERSISTENT_VOLUME: Kind = Kind {
    kind: "PersistentVolume",
    plural: "persistentvolumes",
    singular: "persistentvolume",
    short_names: &["pv"],
    namespaced: false,
    type_name: "core/v1.PersistentVolume",
    list_kind: "PersistentVolumeList",
    subresources: &[Body::core("PersistentVolume", "core/v1.PersistentVolume").status()],
    rules: &PersistentVolume,
    storage: Some(Storage::new("persistentvolumes")),
    ..STORED
};

/// Labels of nodes by their names of before, which a volume may still replace.
const RENAMED: &[(&str, &str)] = &[
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
];

/// Whether `new` is `old` but for labels that have newer names in it.
fn renamed(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Map(now), Value::Map(was)) => {
            let text = |map: &Map| map.get("key").and_then(Value::as_str).unwrap_or_default().to_owned();
            let (key, before) = (text(now), text(was));
            now.len() == was.len()
                && was.iter().all(|(field, was)| {
                    let fits = |now: &Value| renamed(now, was);
                    let newer = field == "key" && RENAMED.contains(&(before.as_str(), key.as_str()));
                    newer || now.get(field).is_some_and(fits)
                })
        }
        (Value::List(now), Value::List(was)) => {
            now.len() == was.len() && now.iter().zip(was).all(|(now, was)| renamed(now, was))
        }
        _ => new == old,
    }
}

struct PersistentVolume;

impl Rules for PersistentVolume {
    fn prepare_create(&self, object: &mut Value) {
        let mut status = value!({"phase": "Pending"});
        if let Some(now) = object.path(&["metadata", "creationTimestamp"]) {
            status.set_path(&["lastPhaseTransitionTime"], now.clone());
        }
        object.set_path(&["status"], status);
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut out = Vec::new();
        annotation(new, CLASS_ANNOTATION, STORAGE_CLASS_FIELD, &mut out);
        let field = "deprecated since v1.31; use \"mountOptions\" attribute instead";
        annotation(new, "volume.beta.kubernetes.io/mount-options", field, &mut out);
        let spec = At::root(new).get("spec");
        if spec.text_of("persistentVolumeReclaimPolicy") == "Recycle" {
            let path = spec.path.child("persistentVolumeReclaimPolicy");
            out.push(format!(
                "{path}: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning."
            ));
        }
        for term in spec.dig(&["nodeAffinity", "required", "nodeSelectorTerms"]).items() {
            expressions(&term.get("matchExpressions"), &mut out);
        }
        old_volumes(&spec, &mut out);
        out
    }

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        validate_spec(&At::root(object).get("spec"), Meta(object).name(), errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        self.validate(new, errors);
        let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
        let (mut now, mut was) = (Value::map(), Value::map());
        for kind in sources() {
            for (side, source) in [(&mut now, spec.get(kind)), (&mut was, before.get(kind))] {
                if source.is_set() {
                    side.set_path(&[kind], source.value.clone());
                }
            }
        }
        // Volumes made before there was a secret for growing may still get one.
        let secret: &[&str] = &["csi", "controllerExpandSecretRef"];
        if was.path(secret).is_none() && was.get("csi").is_some() {
            now.remove_path(secret);
        }
        if now != was {
            let (mut diff, mut shown) = (String::new(), 0);
            list_differences(&was, &now, "spec", &mut diff, &mut shown);
            errors.forbidden(
                &spec.path.child("persistentvolumesource"),
                &format!("spec.persistentvolumesource is immutable after creation\n{diff}"),
            );
        }
        // Upstream leaves out `spec` in these paths.
        let bare = |field: &str| At::new(spec.get(field).value, Path::new(field));
        bare("volumeMode").unchanged(errors, &before.get("volumeMode"));
        let affinity = bare("nodeAffinity");
        if before.has("nodeAffinity") && !renamed(affinity.value, before.get("nodeAffinity").value) {
            let text = format!("{FIELD_IS_IMMUTABLE}, except for updating from beta label to GA");
            affinity.invalid(errors, &text);
        }
        let class = spec.get("volumeAttributesClassName");
        if before.has("volumeAttributesClassName") && !class.is_set() {
            errors.forbidden(&class.path, "update from non-nil value to nil is forbidden");
        }
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("Capacity", "Size of the volume."),
            Column::new("Access Modes", "How nodes may mount the volume."),
            Column::new("Reclaim Policy", "What becomes of the volume when its claim goes."),
            Column::new("Status", "Whether the volume is claimed."),
            Column::new("Claim", "The claim that has the volume."),
            Column::new("StorageClass", "Class of the volume."),
            Column::new("VolumeAttributesClass", "Class of the volume's changeable attributes."),
            Column::new("Reason", "Why the volume failed, in one word."),
            table::AGE,
            Column::new("VolumeMode", "Whether the volume is a file system or a device.").wide(),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let text = |path: &[&str]| table::text_or(object, path, "");
        let reference = |field: &str| object.path_str(&["spec", "claimRef", field]).unwrap_or_default();
        let claim = if object.path_map(&["spec", "claimRef"]).is_some() {
            format!("{}/{}", reference("namespace"), reference("name"))
        } else {
            String::new()
        };
        let meta = Meta(object);
        let class = meta
            .annotation(CLASS_ANNOTATION)
            .map_or_else(|| text(&["spec", "storageClassName"]), Value::from);
        vec![
            table::name(object),
            table::text_or(object, &["spec", "capacity", "storage"], "0"),
            short_modes(object.path_list(&["spec", "accessModes"])).into(),
            text(&["spec", "persistentVolumeReclaimPolicy"]),
            if meta.is_deleting() { "Terminating".into() } else { text(&["status", "phase"]) },
            claim.into(),
            class,
            table::text_or(object, &["spec", "volumeAttributesClassName"], "<unset>"),
            text(&["status", "reason"]),
            table::age(object, now),
            table::text_or(object, &["spec", "volumeMode"], "<unset>"),
        ]
    }
}
