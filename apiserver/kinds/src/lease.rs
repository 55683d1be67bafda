//! coordination.k8s.io/v1 Lease.

use crate::gates;
use crate::shape::STORED;
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value::Value;
use time::OffsetDateTime;

/// coordination.k8s.io/v1 Lease.
pub static LEASE: Kind = Kind {
    group: "coordination.k8s.io",
    kind: "Lease",
    plural: "leases",
    singular: "lease",
    type_name: "coordination.k8s.io/v1.Lease",
    list_kind: "LeaseList",
    rules: &Lease,
    storage: Some(Storage::new("leases")),
    ..STORED
};

struct Lease;

impl Rules for Lease {
    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let spec = At::root(object).get("spec");
        let duration = spec.get("leaseDurationSeconds");
        if duration.int().is_some_and(|seconds| seconds <= 0) {
            duration.invalid(errors, "must be greater than 0");
        }
        spec.get("leaseTransitions").non_negative(errors);
        let strategy = spec.get("strategy");
        if !strategy.is_empty() && strategy.text() != "OldestEmulationVersion" {
            strategy.invalid_each(errors, names::qualified_name(strategy.text()));
        }
        let preferred = spec.get("preferredHolder");
        if !preferred.is_empty() && strategy.is_empty() {
            errors.forbidden(&preferred.path, "may only be specified if `strategy` is defined");
        }
    }

    fn drop_gated(&self, new: &mut Value, old: Option<&Value>) {
        // Of the feature `CoordinatedLeaderElection`.
        gates::drop_fields(new, old, &[&["spec", "preferredHolder"], &["spec", "strategy"]]);
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("Holder", "Who holds the lease."),
            Column::new("Age", "Time since the object was created."),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let holder = table::text_or(object, &["spec", "holderIdentity"], "");
        vec![table::name(object), holder, table::age(object, now)]
    }
}
