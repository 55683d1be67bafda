//! How nodes may mount a volume, and what volumes and claims share besides.

use mainstay_apiserver_machinery::validation::{At, ErrorList};
use mainstay_apiserver_machinery::value::Value;

/// Annotation that named the class before there was a field for it.
pub(super) const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const MODES: &[(&str, &str)] = &[
    ("ReadWriteOnce", "RWO"),
    ("ReadOnlyMany", "ROX"),
    ("ReadWriteMany", "RWX"),
    ("ReadWriteOncePod", "RWOP"),
];

/// Access modes as tables show them: `RWO,RWX`.
pub(super) fn short_modes(modes: &[Value]) -> String {
    let has = |mode: &str| modes.iter().any(|value| value.as_str() == Some(mode));
    let shown: Vec<&str> = MODES.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short).collect();
    shown.join(",")
}

/// Checks access modes; upstream shows all faults at the list.
pub(super) fn validate_access_modes(modes: &At<'_>, errors: &mut ErrorList) {
    let known = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
    for mode in modes.items().filter(|mode| !known.contains(&mode.text())) {
        errors.not_supported(&modes.path, mode.text(), &known);
    }
    let is_single = |mode: &At<'_>| mode.text() == "ReadWriteOncePod";
    if modes.items().any(|mode| is_single(&mode))
        && modes.items().any(|mode| !is_single(&mode) && known.contains(&mode.text()))
    {
        errors.forbidden(&modes.path, "may not use ReadWriteOncePod with other access modes");
    }
}
