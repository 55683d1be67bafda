//! The built-in kinds: one small file for each states its names, defaults, checks, immutable fields, table and subresources. All of it is pure, sees
//! one object at a time and follows upstream's texts. What every kind has is in the machinery; what needs another object is admission in the server.

mod admissionregistration;
mod amount;
mod api_service;
mod apps;
mod autoscaling;
mod batch;
mod catalog;
mod certificates;
mod core;
mod deprecated;
mod endpoint_slice;
mod flowcontrol;
mod formats;
mod gates;
mod lease;
mod networking;
mod pod_disruption_budget;
mod pod_spec;
mod priority_class;
mod rbac;
mod resource;
pub mod resource_names;
mod review;
mod runtime_class;
mod shape;
mod status_update;
mod storage;
mod storage_version_migration;
mod table;

pub use admissionregistration::{
    AdmissionNames, KnownKinds, MUTATING_ADMISSION_POLICY, MUTATING_ADMISSION_POLICY_BINDING,
    MUTATING_WEBHOOK_CONFIGURATION, NAMESPACE_SHAPE, REQUEST_SHAPE, VALIDATING_ADMISSION_POLICY,
    VALIDATING_ADMISSION_POLICY_BINDING, VALIDATING_WEBHOOK_CONFIGURATION, has_type_check, type_checked,
};
pub use api_service::API_SERVICE;
pub use apps::{CONTROLLER_REVISION, DAEMON_SET, DEPLOYMENT, REPLICA_SET, STATEFUL_SET};
pub use autoscaling::{HORIZONTAL_POD_AUTOSCALER, HORIZONTAL_POD_AUTOSCALER_V1};
pub use batch::{CRON_JOB, JOB};
pub use catalog::{all, bodies, by_gvk, by_gvr};
pub use certificates::{CERTIFICATE_SIGNING_REQUEST, CLUSTER_TRUST_BUNDLE, POD_CERTIFICATE_REQUEST};
pub use core::config_map::CONFIG_MAP;
pub use core::endpoints::ENDPOINTS;
pub use core::event::{EVENT, EVENTS_EVENT};
pub use core::limit_range::LIMIT_RANGE;
pub use core::namespace::NAMESPACE;
pub use core::node::NODE;
pub use core::pod::POD;
pub use core::pod_template::POD_TEMPLATE;
pub use core::replication_controller::REPLICATION_CONTROLLER;
pub use core::resource_quota::RESOURCE_QUOTA;
pub use core::secret::SECRET;
pub use core::service::SERVICE;
pub use core::service_account::SERVICE_ACCOUNT;
pub use core::volume::{PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM};
pub use endpoint_slice::ENDPOINT_SLICE;
pub use flowcontrol::{
    FLOW_SCHEMA, PRIORITY_LEVEL_CONFIGURATION, bootstrap_flow_schemas, bootstrap_priority_levels,
};
pub use lease::LEASE;
pub use mainstay_apiserver_extensions::crd::CUSTOM_RESOURCE_DEFINITION;
pub use networking::{INGRESS, INGRESS_CLASS, IP_ADDRESS, NETWORK_POLICY, SERVICE_CIDR};
pub use pod_disruption_budget::POD_DISRUPTION_BUDGET;
pub use priority_class::{PRIORITY_CLASS, SYSTEM_CLASSES};
pub use rbac::{CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING};
pub use resource::{
    DEVICE_CLASS, DEVICE_TAINT_RULE, RESOURCE_CLAIM, RESOURCE_CLAIM_TEMPLATE, RESOURCE_SLICE,
};
pub use review::{
    BINDING, EVICTION, LOCAL_SUBJECT_ACCESS_REVIEW, SCALE, SELF_SUBJECT_ACCESS_REVIEW, SELF_SUBJECT_REVIEW,
    SELF_SUBJECT_RULES_REVIEW, SUBJECT_ACCESS_REVIEW, TOKEN_REQUEST, TOKEN_REVIEW,
};
pub use runtime_class::RUNTIME_CLASS;
pub use storage::{
    CSI_DRIVER, CSI_NODE, CSI_STORAGE_CAPACITY, STORAGE_CLASS, VOLUME_ATTACHMENT, VOLUME_ATTRIBUTES_CLASS,
};
pub use storage_version_migration::STORAGE_VERSION_MIGRATION;
