//! What ReplicaSet and ReplicationController have in common: a number of equal pods from one template.

use super::template::{validate_available, validate_counts};
use crate::table;
use mainstay_apiserver_machinery::kind::Column;
use mainstay_apiserver_machinery::validation::{At, ErrorList};
use mainstay_apiserver_machinery::value::Value;
use smol_str::{SmolStr, format_smolstr};
use time::OffsetDateTime;

/// Where the template is.
pub(crate) const TEMPLATE: &[&str] = &["spec", "template"];

/// Fields that a field selector may name.
pub(crate) const SELECTABLE_FIELDS: &[&str] = &["status.replicas"];

pub(crate) fn selectable_fields(object: &Value) -> Vec<(&'static str, SmolStr)> {
    let replicas = object.path_i64(&["status", "replicas"]).unwrap_or_default();
    vec![("status.replicas", format_smolstr!("{replicas}"))]
}

pub(crate) fn validate_status(object: &Value, errors: &mut ErrorList) {
    let status = At::root(object).get("status");
    let parts = &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
    // ReplicationControllers have no `terminatingReplicas`.
    let all = &[
        "replicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "terminatingReplicas",
        "observedGeneration",
    ];
    validate_counts(&status, all, parts, errors);
    validate_available(&status, "readyReplicas", errors);
}

/// Columns of kinds that keep a number of pods.
pub(crate) const COLUMNS: &[Column] = &[
    Column::object_name(),
    Column::new("Desired", "Pods that are wanted.").of_type("integer"),
    Column::new("Current", "Pods that exist.").of_type("integer"),
    Column::new("Ready", "Pods that are ready.").of_type("integer"),
    Column::new("Age", "Time since the object was created."),
    Column::new("Containers", "Names of the containers.").wide(),
    Column::new("Images", "Images of the containers.").wide(),
    Column::new("Selector", "Which pods belong to the object.").wide(),
];

/// The cells of [`COLUMNS`].
pub(crate) fn row(object: &Value, selector: String, now: OffsetDateTime) -> Vec<Value> {
    let containers = object.path_list(&["spec", "template", "spec", "containers"]);
    let [names, images] = table::containers_and_images(containers);
    vec![
        table::name(object),
        table::number(object, &["spec", "replicas"]),
        table::number(object, &["status", "replicas"]),
        table::number(object, &["status", "readyReplicas"]),
        table::age(object, now),
        names,
        images,
        selector.into(),
    ]
}
