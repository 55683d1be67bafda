//! Every kind that is built, and how to find one.

use crate::{
    admissionregistration, api_service, apps, autoscaling, batch, certificates, core, endpoint_slice,
    flowcontrol, lease, networking, pod_disruption_budget, priority_class, rbac, resource, review,
    runtime_class, storage, storage_version_migration,
};
use mainstay_apiserver_extensions::crd;
use mainstay_apiserver_machinery::kind::Kind;

static ALL: &[&Kind] = &[
    &review::BINDING,
    &core::config_map::CONFIG_MAP,
    &core::endpoints::ENDPOINTS,
    &core::event::EVENT,
    &core::limit_range::LIMIT_RANGE,
    &core::namespace::NAMESPACE,
    &core::node::NODE,
    &core::volume::PERSISTENT_VOLUME_CLAIM,
    &core::volume::PERSISTENT_VOLUME,
    &core::pod::POD,
    &core::pod_template::POD_TEMPLATE,
    &core::replication_controller::REPLICATION_CONTROLLER,
    &core::resource_quota::RESOURCE_QUOTA,
    &core::secret::SECRET,
    &core::service::SERVICE,
    &core::service_account::SERVICE_ACCOUNT,
    &crd::CUSTOM_RESOURCE_DEFINITION,
    &admissionregistration::MUTATING_ADMISSION_POLICY,
    &admissionregistration::MUTATING_ADMISSION_POLICY_BINDING,
    &admissionregistration::MUTATING_WEBHOOK_CONFIGURATION,
    &admissionregistration::VALIDATING_ADMISSION_POLICY,
    &admissionregistration::VALIDATING_ADMISSION_POLICY_BINDING,
    &admissionregistration::VALIDATING_WEBHOOK_CONFIGURATION,
    &api_service::API_SERVICE,
    &apps::CONTROLLER_REVISION,
    &apps::DAEMON_SET,
    &apps::DEPLOYMENT,
    &apps::REPLICA_SET,
    &apps::STATEFUL_SET,
    &review::SELF_SUBJECT_REVIEW,
    &review::TOKEN_REVIEW,
    &review::LOCAL_SUBJECT_ACCESS_REVIEW,
    &review::SELF_SUBJECT_ACCESS_REVIEW,
    &review::SELF_SUBJECT_RULES_REVIEW,
    &review::SUBJECT_ACCESS_REVIEW,
    &autoscaling::HORIZONTAL_POD_AUTOSCALER_V1,
    &autoscaling::HORIZONTAL_POD_AUTOSCALER,
    &batch::CRON_JOB,
    &batch::JOB,
    &certificates::CERTIFICATE_SIGNING_REQUEST,
    &certificates::CLUSTER_TRUST_BUNDLE,
    &certificates::POD_CERTIFICATE_REQUEST,
    &lease::LEASE,
    &endpoint_slice::ENDPOINT_SLICE,
    &core::event::EVENTS_EVENT,
    &flowcontrol::FLOW_SCHEMA,
    &flowcontrol::PRIORITY_LEVEL_CONFIGURATION,
    &networking::INGRESS_CLASS,
    &networking::INGRESS,
    &networking::IP_ADDRESS,
    &networking::NETWORK_POLICY,
    &networking::SERVICE_CIDR,
    &runtime_class::RUNTIME_CLASS,
    &pod_disruption_budget::POD_DISRUPTION_BUDGET,
    &rbac::CLUSTER_ROLE,
    &rbac::CLUSTER_ROLE_BINDING,
    &rbac::ROLE,
    &rbac::ROLE_BINDING,
    &resource::DEVICE_CLASS,
    &resource::DEVICE_TAINT_RULE,
    &resource::RESOURCE_CLAIM,
    &resource::RESOURCE_CLAIM_TEMPLATE,
    &resource::RESOURCE_SLICE,
    &priority_class::PRIORITY_CLASS,
    &storage::CSI_DRIVER,
    &storage::CSI_NODE,
    &storage::CSI_STORAGE_CAPACITY,
    &storage::STORAGE_CLASS,
    &storage::VOLUME_ATTACHMENT,
    &storage::VOLUME_ATTRIBUTES_CLASS,
    &storage_version_migration::STORAGE_VERSION_MIGRATION,
];

/// Kinds that occur only as bodies of subresources; discovery does not list them as resources.
static BODIES: &[&Kind] = &[&review::TOKEN_REQUEST, &review::EVICTION, &review::SCALE];

/// Every served kind, by group; what discovery lists.
pub fn all() -> &'static [&'static Kind] {
    ALL
}

/// Kinds that occur only as bodies of subresources.
pub fn bodies() -> &'static [&'static Kind] {
    BODIES
}

/// The kind served under a resource name.
pub fn by_gvr(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    ALL.iter().copied().find(|kind| kind.plural == plural && kind.version == version && kind.group == group)
}

/// The kind of that name, served or a body.
pub fn by_gvk(group: &str, version: &str, name: &str) -> Option<&'static Kind> {
    let mut known = ALL.iter().chain(BODIES).copied();
    known.find(|kind| kind.kind == name && kind.version == version && kind.group == group)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_apiserver_machinery::schema;
    use std::collections::HashSet;

    #[test]
    fn every_kind_has_its_types_in_the_schema() {
        for kind in all().iter().chain(bodies()) {
            assert!(schema::lookup(kind.type_name).is_some(), "{kind:?}: {}", kind.type_name);
            assert!(kind.type_name.ends_with(&format!(".{}", kind.kind)), "{kind:?}: {}", kind.type_name);
            for sub in kind.subresources {
                assert!(schema::lookup(sub.type_name).is_some(), "{kind:?}/{}: {}", sub.name, sub.type_name);
            }
        }
    }

    #[test]
    fn no_two_kinds_share_a_resource_or_a_stored_prefix() {
        let mut resources = HashSet::new();
        let mut prefixes = HashSet::new();
        for kind in all() {
            assert!(resources.insert(kind.gvr()), "{kind:?}");
            if let Some(storage) = kind.storage.as_ref().filter(|storage| storage.stored_as.is_none()) {
                assert!(!storage.prefix.is_empty() && prefixes.insert(storage.prefix), "{kind:?}");
            }
        }
    }

    #[test]
    fn verbs_and_subresources_are_sorted() {
        for kind in all() {
            assert!(kind.verbs.is_sorted(), "{kind:?}");
            assert!(kind.subresources.is_sorted_by_key(|sub| sub.name), "{kind:?}");
            assert!(kind.subresources.iter().all(|sub| sub.verbs.is_sorted()), "{kind:?}");
        }
    }

    #[test]
    fn kinds_are_found_by_resource_and_by_kind() {
        assert_eq!(by_gvr("apps", "v1", "deployments").map(|kind| kind.kind), Some("Deployment"));
        assert_eq!(by_gvk("", "v1", "Pod").map(|kind| kind.plural), Some("pods"));
        assert!(by_gvr("", "v1", "deployments").is_none());
        assert_eq!(by_gvk("autoscaling", "v1", "Scale").map(Kind::is_stored), Some(false));
    }
}
