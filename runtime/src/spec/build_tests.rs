//! Goldens of whole specifications, and the merge rules one by one.

use super::*;
use mainstay_proto_wire::cri::v1::{self, Mount};

fn image() -> ImageConfig {
    serde_json::from_value(json!({"os": "linux", "config": {
        "Env": ["PATH=/bin", "MODE=image"], "Entrypoint": ["/entry"], "Cmd": ["from-image"], "WorkingDir": "srv",
        "User": null,
    }}))
    .unwrap()
}

fn facts() -> Facts {
    Facts {
        rootfs: "/run/x/rootfs".into(),
        cgroup: "/mainstay-t/pod1/c1".into(),
        hostname: "web-0".into(),
        namespaces: Namespaces {
            network: Some("/run/x/ns-net".into()),
            ipc: Some("/run/x/ns-ipc".into()),
            uts: Some("/run/x/ns-uts".into()),
            pid: PidNamespace::Own,
        },
        shm: "/run/x/shm".into(),
        sandbox_files: vec![("/run/x/resolv.conf".into(), "/etc/resolv.conf".into())],
        pids_max: 100,
        cgroup_views: vec![(
            "/sys/fs/cgroup/memory/mainstay-t/pod1/c1".into(),
            "/sys/fs/cgroup/memory".into(),
        )],
        files_max: 1 << 20,
        oom_score_min: -1000,
        ..Facts::default()
    }
}

fn golden(name: &str, config: &ContainerConfig, facts: &Facts) {
    let spec = build(config, &image(), facts).unwrap();
    crate::golden::check(name, &(serde_json::to_string_pretty(&spec).unwrap() + "\n"));
}

#[test]
fn plain_container_matches_its_golden_file() {
    let config = ContainerConfig {
        args: vec!["serve".into()],
        envs: vec![v1::KeyValue { key: "MODE".into(), value: "pod".into() }],
        mounts: vec![
            Mount {
                container_path: "/a/b".into(),
                host_path: "/h/b".into(),
                readonly: true,
                ..Mount::default()
            },
            Mount { container_path: "/a".into(), host_path: "/h/a".into(), ..Mount::default() },
        ],
        linux: Some(v1::LinuxContainerConfig {
            resources: Some(LinuxContainerResources {
                cpu_shares: 102,
                cpu_quota: 20_000,
                cpu_period: 100_000,
                memory_limit_in_bytes: 64 << 20,
                oom_score_adj: 990,
                ..LinuxContainerResources::default()
            }),
            security_context: None,
        }),
        ..ContainerConfig::default()
    };
    golden("plain.json", &config, &facts());
}

#[test]
fn privileged_container_matches_its_golden_file() {
    let mut facts = facts();
    facts.privileged = true;
    facts.unified_cgroups = true;
    facts.namespaces.pid = PidNamespace::Node;
    facts.devices = vec![Device {
        path: "/dev/fuse".into(),
        kind: 'c',
        major: 10,
        minor: 229,
        mode: 0o666,
        uid: 0,
        gid: 0,
        access: "rwm".into(),
    }];
    let config = ContainerConfig {
        command: vec!["/bin/x".into()],
        tty: true,
        mounts: vec![Mount {
            container_path: "/mnt".into(),
            host_path: "/mnt".into(),
            propagation: v1::MountPropagation::PropagationBidirectional.into(),
            ..Mount::default()
        }],
        ..ContainerConfig::default()
    };
    golden("privileged.json", &config, &facts);
}

#[test]
fn command_and_args_replace_as_kubernetes_says() {
    let run = |command: &[&str], args: &[&str]| {
        let config = ContainerConfig {
            command: command.iter().map(|part| (*part).into()).collect(),
            args: args.iter().map(|part| (*part).into()).collect(),
            ..ContainerConfig::default()
        };
        arguments(&config, &image()).unwrap()
    };
    assert_eq!(run(&[], &[]), ["/entry", "from-image"]);
    assert_eq!(run(&["/mine"], &[]), ["/mine"]);
    assert_eq!(run(&[], &["a"]), ["/entry", "a"]);
    assert_eq!(run(&["/mine"], &["a"]), ["/mine", "a"]);
    assert!(arguments(&ContainerConfig::default(), &ImageConfig::default()).is_err());
}

#[test]
fn mounts_that_leave_their_place_are_refused() {
    for path in ["relative", "/a/../../b"] {
        let config = ContainerConfig {
            mounts: vec![Mount { container_path: path.into(), host_path: "/h".into(), ..Mount::default() }],
            ..ContainerConfig::default()
        };
        assert!(build(&config, &image(), &facts()).is_err(), "{path}");
    }
}

#[test]
fn user_without_root_holds_no_capability() {
    let mut facts = facts();
    facts.account = Account { uid: 1000, gid: 1000, ..Account::default() };
    let spec = build(&ContainerConfig::default(), &image(), &facts).unwrap();
    let held = &spec["process"]["capabilities"];
    assert_eq!(held["effective"], json!([]));
    assert_eq!(held["permitted"], json!([]));
    assert_eq!(held["bounding"].as_array().unwrap().len(), 14);
}
