//! Volumes of kinds that nothing mounts any more.

use super::containers::fractions_of;
use mainstay_apiserver_machinery::validation::At;

/// Kinds of volumes that are gone, with what to say.
const OLD_VOLUMES: &[(&str, &str)] = &[
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// A volume of a pod.
pub(super) fn warn(volume: &At<'_>, out: &mut Vec<String>) {
    old_volumes(volume, out);
    let resources = volume.dig(&["ephemeral", "volumeClaimTemplate", "spec", "resources"]);
    for list in ["requests", "limits"] {
        fractions_of(&resources.get(list), &["storage"], out);
    }
}

/// A volume of a kind that nothing mounts any more.
pub(crate) fn old_volumes(volume: &At<'_>, out: &mut Vec<String>) {
    for (kind, text) in OLD_VOLUMES {
        // Upstream writes this one otherwise than the field is called.
        let field = if *kind == "storageOS" { "storageos" } else { kind };
        if volume.has(field) {
            out.push(format!("{}: {text}", volume.path.child(kind)));
        }
    }
}
