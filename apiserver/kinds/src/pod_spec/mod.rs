//! Pod specs: defaults and checks that pods and the pod templates of workloads share.

mod affinity;
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
mod volumes;
mod warnings;

pub(crate) use affinity::validate_node_selector;
pub(crate) use defaults::{default_pod, default_template};
pub(crate) use mounts::validate_no_backsteps;
pub(crate) use probe::validate_port;
pub(crate) use resources::{qos_class, validate_container_resource_name, validate_limits};
pub(crate) use scheduling::validate_tolerations;
pub(crate) use spec::{Holder, validate_ephemeral_containers, validate_spec, validate_template};
pub(crate) use volumes::{validate_host_path, validate_nfs};
pub(crate) use warnings::{fractions_of, old_volumes, template_warnings, warnings};
