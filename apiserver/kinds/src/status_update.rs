//! Updates of the status of kinds whose metadata they may not change either.

use mainstay_apiserver_machinery::kind::{restore_except, restore_meta};
use mainstay_apiserver_machinery::value::Value;

/// What of the metadata only a plain update may change.
const METADATA: &[&str] = &["annotations", "deletionTimestamp", "finalizers", "labels", "ownerReferences"];

/// Gives all but the status, and who owns which field, the values that they have in `old`.
pub(crate) fn restore_all_but_status(new: &mut Value, old: &Value) {
    restore_except(new, old, &["apiVersion", "kind", "metadata", "status"]);
    for field in METADATA {
        restore_meta(new, old, field);
    }
}
