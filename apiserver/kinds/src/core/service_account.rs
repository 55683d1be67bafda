//! core/v1 ServiceAccount.

use crate::deprecated::annotation;
use crate::shape::{Body, CREATE, STORED};
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::validation::At;
use mainstay_apiserver_machinery::value::Value;
use time::OffsetDateTime;

/// core/v1 ServiceAccount.
pub static SERVICE_ACCOUNT: Kind = Kind {
    kind: "ServiceAccount",
    plural: "serviceaccounts",
    singular: "serviceaccount",
    short_names: &["sa"],
    type_name: "core/v1.ServiceAccount",
    list_kind: "ServiceAccountList",
    subresources: &[Body {
        group: "authentication.k8s.io",
        version: "v1",
        kind: "TokenRequest",
        type_name: "authentication.k8s.io/v1.TokenRequest",
    }
    .connect("token", CREATE)],
    rules: &ServiceAccount,
    storage: Some(Storage::new("serviceaccounts")),
    ..STORED
};

struct ServiceAccount;

/// The annotation that bound pods to the secrets of their account.
const MOUNTABLE_SECRETS: &str = "kubernetes.io/enforce-mountable-secrets";

impl Rules for ServiceAccount {
    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut out = Vec::new();
        if old.is_none_or(|old| Meta(old).annotation(MOUNTABLE_SECRETS).is_none()) {
            let what =
                "deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets";
            annotation(new, MOUNTABLE_SECRETS, what, &mut out);
        }
        out
    }

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("Secrets", "How many secrets pods of this account may use."),
            Column::new("Age", "Time since the object was created."),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let secrets = i64::try_from(At::root(object).get("secrets").len()).unwrap_or(i64::MAX);
        vec![table::name(object), secrets.into(), table::age(object, now)]
    }
}
