//! Pod specs: defaults and checks that pods and the pod templates of workloads share.

mod affinity;
mod annotations;
mod container;
mod defaults;
mod dns;
mod env;
mod mounts;
mod probe;
mod resources;
mod scheduling;
mod security;
mod spec;
mod volume_sources;
mod volumes;
mod warnings;
mod windows;

pub(crate) use affinity::{add_match_label_keys, validate_node_selector};
pub(crate) use annotations::{
    validate_pod_annotations, validate_pod_annotations_update, validate_profiles_match,
};
pub(crate) use defaults::{default_pod, default_template};
pub(crate) use mounts::validate_no_backsteps;
pub(crate) use probe::validate_port;
pub(crate) use resources::{
    qos_class, validate_container_resource_name, validate_limits, validate_resource_name,
};
pub(crate) use scheduling::validate_tolerations;
pub(crate) use spec::{Holder, validate_ephemeral_containers, validate_spec, validate_template};
pub(crate) use volume_sources::{Owner, second_source_path, validate_served};
pub(crate) use volumes::{validate_host_path, validate_nfs};
pub(crate) use warnings::{
    Subject, fractions_of, name_warning, old_volumes, spec_changed, template_warnings, warnings,
};
