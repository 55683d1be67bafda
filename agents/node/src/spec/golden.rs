//! Goldens of the translation: a pod and what it may read, and below `=>` the environment and the runtime's view of its
//! first container and of its sandbox. `UPDATE_GOLDEN=1` rewrites them; they are read in review.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use mainstay_proto_wire::cri::v1;
use serde_json::{Value, json};

use super::container::{ContainerFacts, container_config};
use super::dns::DnsConfig;
use super::downward::PodFacts;
use super::env::environment;
use super::sandbox::{SandboxFacts, sandbox_config};
use super::security::ImageUser;
use super::service_env::service_env;
use crate::volumes::ContentSources;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/goldens/spec.txt");

#[derive(Default)]
struct World {
    sources: ContentSources,
    services: Vec<Service>,
    user: ImageUser,
}

fn take(world: &mut World, fact: &str) {
    let (kind, rest) = fact.split_once(' ').unwrap();
    let yaml = |text: &str| -> Value { serde_yaml_ng::from_str(text).unwrap() };
    match kind {
        "configmap" => {
            let (name, data) = rest.split_once(' ').unwrap();
            let map: ConfigMap = serde_json::from_value(json!({"metadata": {}, "data": yaml(data)})).unwrap();
            world.sources.config_maps.insert(name.to_owned(), Arc::new(map));
        }
        "secret" => {
            let (name, data) = rest.split_once(' ').unwrap();
            let data: BTreeMap<String, String> = serde_json::from_value(yaml(data)).unwrap();
            let bytes = data.into_iter().map(|(k, v)| (k, k8s_openapi::ByteString(v.into_bytes()))).collect();
            world
                .sources
                .secrets
                .insert(name.to_owned(), Arc::new(Secret { data: Some(bytes), ..Secret::default() }));
        }
        "service" => {
            let words: Vec<&str> = rest.split(' ').collect();
            let port: i32 = words[3].parse().unwrap();
            let service = json!({"metadata": {"namespace": words[0], "name": words[1]},
                "spec": {"clusterIP": words[2], "ports": [{"port": port}]}});
            world.services.push(serde_json::from_value(service).unwrap());
        }
        "image-uid" => world.user.uid = Some(rest.parse().unwrap()),
        "image-user" => rest.clone_into(&mut world.user.username),
        other => panic!("unknown fact {other:?}"),
    }
}

fn show(input: &str) -> String {
    let (facts, pod): (Vec<&str>, Vec<&str>) = input.lines().partition(|l| l.starts_with("* "));
    let mut pod: Value = serde_yaml_ng::from_str(&pod.join("\n")).unwrap();
    let meta = pod.as_object_mut().unwrap().entry("metadata").or_insert_with(|| json!({}));
    for (key, value) in [("name", "web"), ("namespace", "ns"), ("uid", "u1")] {
        meta.as_object_mut().unwrap().entry(key).or_insert_with(|| value.into());
    }
    let pod: Pod = serde_json::from_value(pod).unwrap();
    let mut world = World::default();
    for fact in facts {
        take(&mut world, &fact[2..]);
    }
    let mut out = String::new();
    container(&pod, &world, &mut out);
    sandbox(&pod, &mut out);
    out
}

fn container(pod: &Pod, world: &World, out: &mut String) {
    let spec = pod.spec.as_ref().unwrap();
    let own = &spec.containers[0];
    let facts = PodFacts {
        pod_ips: vec!["10.0.0.2".into()],
        host_ips: vec!["192.168.0.1".into()],
        allocatable: [("cpu", "4"), ("memory", "8Gi")]
            .map(|(k, v)| (k.to_owned(), Quantity(v.into())))
            .into(),
    };
    let services = service_env(&world.services, "ns", spec.enable_service_links.unwrap_or(true));
    let env = match environment(pod, own, &facts, &world.sources, &services) {
        Ok(env) => env,
        Err(error) => return writeln!(out, "environment error: {error}").unwrap(),
    };
    env.vars.iter().for_each(|(k, v)| writeln!(out, "{k}={v}").unwrap());
    env.skipped.iter().for_each(|s| writeln!(out, "skipped: {s}").unwrap());
    let facts = ContainerFacts {
        restart_count: 0,
        image_id: "sha256:1",
        image_user: world.user.clone(),
        environment: env,
        mounts: Vec::new(),
        devices: Vec::new(),
        target: None,
        memory_capacity: 8 << 30,
    };
    let config = match container_config(pod, own, facts) {
        Ok(config) => config,
        Err(error) => return writeln!(out, "container error: {error}").unwrap(),
    };
    writeln!(
        out,
        "command {:?} args {:?} signal {}",
        config.command,
        config.args,
        config.stop_signal().as_str_name()
    )
    .unwrap();
    let linux = config.linux.unwrap();
    let r = linux.resources.unwrap();
    writeln!(
        out,
        "cpu shares={} quota={}/{} memory={} oom={}",
        r.cpu_shares, r.cpu_quota, r.cpu_period, r.memory_limit_in_bytes, r.oom_score_adj
    )
    .unwrap();
    security(&linux.security_context.unwrap(), out);
}

fn security(s: &v1::LinuxContainerSecurityContext, out: &mut String) {
    let number =
        |n: &Option<v1::Int64Value>| n.as_ref().map_or_else(|| "-".to_owned(), |n| n.value.to_string());
    let caps = s.capabilities.clone().unwrap();
    let seccomp = s.seccomp.clone().unwrap();
    writeln!(
        out,
        "user={} group={} name={:?} groups={:?} add={:?} drop={:?} privileged={} ro={} nnp={} seccomp={}{} masked={}",
        number(&s.run_as_user),
        number(&s.run_as_group),
        s.run_as_username,
        s.supplemental_groups,
        caps.add_capabilities,
        caps.drop_capabilities,
        s.privileged,
        s.readonly_rootfs,
        s.no_new_privs,
        seccomp.profile_type().as_str_name(),
        seccomp.localhost_ref,
        s.masked_paths.len(),
    )
    .unwrap();
}

fn sandbox(pod: &Pod, out: &mut String) {
    let facts = SandboxFacts {
        attempt: 0,
        dns: DnsConfig::default(),
        cluster_domain: "cluster.local",
        cgroup_root: "/kubepods",
        log_directory: "/logs".into(),
        node_hostname: "node1",
    };
    let config = match sandbox_config(pod, &facts) {
        Ok(config) => config,
        Err(error) => return writeln!(out, "sandbox error: {error}").unwrap(),
    };
    let linux = config.linux.unwrap();
    let namespaces = linux.security_context.unwrap().namespace_options.unwrap();
    let ports: Vec<String> = config
        .port_mappings
        .iter()
        .map(|p| {
            format!("{}:{}->{}/{}", p.host_ip, p.host_port, p.container_port, p.protocol().as_str_name())
        })
        .collect();
    let r = linux.resources.unwrap();
    writeln!(
        out,
        "sandbox host={} net={} pid={} ipc={} ports={ports:?} sysctls={:?} cgroup={} pod-memory={} pod-quota={}",
        config.hostname,
        namespaces.network().as_str_name(),
        namespaces.pid().as_str_name(),
        namespaces.ipc().as_str_name(),
        linux.sysctls,
        linux.cgroup_parent,
        r.memory_limit_in_bytes,
        r.cpu_quota,
    )
    .unwrap();
}

#[test]
fn translations_match_the_goldens() {
    let text = std::fs::read_to_string(FILE).unwrap();
    let (mut want, mut seen) = (String::new(), String::new());
    for part in text.split("\n### ").skip(1) {
        let (title, rest) = part.split_once('\n').unwrap();
        let (input, expected) = rest.split_once("=>\n").unwrap_or((rest, ""));
        write!(want, "\n### {title}\n{input}=>\n{}\n", expected.trim_end()).unwrap();
        write!(seen, "\n### {title}\n{input}=>\n{}\n", show(input).trim_end()).unwrap();
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let head = text.split("\n### ").next().unwrap();
        std::fs::write(FILE, format!("{head}{seen}")).unwrap();
        return;
    }
    assert_eq!(want, seen, "run with UPDATE_GOLDEN=1 and read the difference");
}
