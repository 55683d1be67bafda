//! Containers on a real node. Needs root.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::needless_pass_by_value,
    clippy::missing_panics_doc,
    missing_docs,
    unreachable_pub,
    reason = "a test may fail loudly; its support is shared by files"
)]

mod node;

use mainstay_proto_wire::cri::{RuntimeService, v1};
use node::{Node, on_node};

#[test]
fn container_runs_logs_and_exits_with_its_code() {
    on_node(async |node| {
        let pod = node.pod("web").await;
        let script = "echo out; echo err >&2; hostname; cat /etc/resolv.conf; echo $FROM_IMAGE $HOME; exit 7";
        let (code, log) = node.run(&pod, Node::script("c", script)).await;
        assert_eq!(code, 7);
        for line in ["out\n", "err\n", "web\n", "nameserver 192.0.2.53\n", "yes /root\n"] {
            assert!(log.contains(line), "{line:?} in {log:?}");
        }
    });
}

#[test]
fn exec_has_the_seccomp_and_capabilities_of_its_container() {
    on_node(async |node| {
        let pod = node.pod("sec").await;
        let mut config = Node::script("c", "sleep 1000");
        let context = config.linux.as_mut().unwrap().security_context.as_mut().unwrap();
        context.capabilities = Some(v1::Capability {
            drop_capabilities: vec!["ALL".into()],
            add_capabilities: vec!["CHOWN".into()],
            ..Default::default()
        });
        let id = node.start(&pod, config).await;
        let (_, own) = node.exec(&id, "grep -E '^(Cap|Seccomp:|NoNewPrivs)' /proc/1/status").await;
        let (_, exec) = node.exec(&id, "grep -E '^(Cap|Seccomp:|NoNewPrivs)' /proc/self/status").await;
        assert_eq!(own, exec);
        assert!(exec.contains("CapBnd:\t0000000000000001\n"), "{exec}");
        assert!(exec.contains("CapEff:\t0000000000000001\n"), "{exec}");
        assert!(exec.contains("Seccomp:\t2\n"), "{exec}");
        let (code, text) = node.exec(&id, "unshare -U true").await;
        assert_ne!(code, 0, "{text}");
        assert_eq!(node.exec(&id, "(echo forked)").await, (0, "forked\n".into()));
    });
}

#[test]
fn exec_of_a_user_is_that_user_with_no_new_privileges() {
    on_node(async |node| {
        let pod = node.pod("user").await;
        let mut config = Node::script("c", "sleep 1000");
        let context = config.linux.as_mut().unwrap().security_context.as_mut().unwrap();
        context.run_as_username = "web".into();
        context.supplemental_groups = vec![555];
        context.no_new_privs = true;
        let id = node.start(&pod, config).await;
        let (_, text) = node
            .exec(&id, "id -u; id -g; id -G; grep -E '^(CapEff|Seccomp:|NoNewPrivs)' /proc/self/status")
            .await;
        assert_eq!(text, "101\n102\n102 107 555\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n");
        let user = node.status(&id).await.user.unwrap().linux.unwrap();
        assert_eq!((user.uid, user.gid), (101, 102));
    });
}

#[test]
fn command_that_is_not_there_fails_to_start_with_words() {
    on_node(async |node| {
        let pod = node.pod("missing").await;
        let mut config = Node::script("c", "");
        config.command = vec!["no-such-program".into()];
        let id = node.create(&pod, config).await;
        let request = v1::StartContainerRequest { container_id: id.clone() };
        let error = RuntimeService::start_container(&*node.runtime, request).await.unwrap_err();
        assert!(
            error.message.contains(r#"exec: "no-such-program": executable file not found in $PATH"#),
            "{error}"
        );
        let status = node.status(&id).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (128, "StartError"));
    });
}

#[test]
fn stop_asks_first_and_kills_after_the_timeout() {
    on_node(async |node| {
        let pod = node.pod("stop").await;
        let polite = node
            .start(&pod, Node::script("polite", "trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done"))
            .await;
        while !node.log(&polite).await.contains("up") {
            tokio::task::yield_now().await;
        }
        node.stop(&polite, 30).await;
        assert_eq!(node.status(&polite).await.exit_code, 3);
        let deaf = node.start(&pod, Node::script("deaf", "trap '' TERM; while :; do sleep 0.1; done")).await;
        node.stop(&deaf, 1).await;
        assert_eq!(node.status(&deaf).await.exit_code, 137);
    });
}

#[test]
fn memory_hog_is_killed_alone_and_said_to_be() {
    on_node(async |node| {
        let pod = node.pod("hog").await;
        let mut config = Node::script("hog", "tail /dev/zero");
        config.linux.as_mut().unwrap().resources =
            Some(v1::LinuxContainerResources { memory_limit_in_bytes: 32 << 20, ..Default::default() });
        let id = node.start(&pod, config).await;
        let status = node.ended(&id).await;
        assert_eq!(status.reason, "OOMKilled", "{status:?}");
        assert_eq!(status.exit_code, 137);
    });
}

#[test]
fn fork_bomb_stays_in_its_container() {
    on_node(async |node| {
        let pod = node.pod("bomb").await;
        let bomb = node.start(&pod, Node::script("bomb", "f() { f | f & }; f; sleep 1000")).await;
        let (code, text) = node.run(&pod, Node::script("calm", "echo alive")).await;
        assert_eq!((code, text.as_str()), (0, "alive\n"));
        node.stop(&bomb, 0).await;
        assert_eq!(node.status(&bomb).await.exit_code, 137);
    });
}

#[test]
fn pod_has_its_own_network_address_and_gives_it_back() {
    on_node(async |node| {
        let pod = node.pod("net").await;
        let status = |id: &str| {
            node.runtime
                .pod_sandbox_status(v1::PodSandboxStatusRequest { pod_sandbox_id: id.into(), verbose: false })
        };
        let ip = status(&pod).await.unwrap().status.unwrap().network.unwrap().ip;
        let mut config = Node::script("server", "echo hello | nc -l -p 80; sleep 1000");
        config.stdin = false;
        let server = node.start(&pod, config).await;
        let other = node.pod("client").await;
        let client = format!("until nc -w 1 {ip} 80 2>/dev/null | grep hello; do sleep 0.1; done");
        let (code, text) = node.run(&other, Node::script("client", &client)).await;
        assert_eq!((code, text.as_str()), (0, "hello\n"));
        let (_, shown) = node.exec(&server, "ip addr show eth0").await;
        assert!(shown.contains(&ip), "{shown}");
        node.runtime
            .remove_pod_sandbox(v1::RemovePodSandboxRequest { pod_sandbox_id: pod.clone() })
            .await
            .unwrap();
        assert!(status(&pod).await.is_err());
        let again = v1::RemovePodSandboxRequest { pod_sandbox_id: pod };
        node.runtime.remove_pod_sandbox(again).await.unwrap();
    });
}

#[test]
fn container_reads_its_limits_and_cannot_lift_them() {
    on_node(async |node| {
        let pod = node.pod("limits").await;
        let mut config = Node::script("c", "sleep 1000");
        config.linux.as_mut().unwrap().resources =
            Some(v1::LinuxContainerResources { memory_limit_in_bytes: 64 << 20, ..Default::default() });
        let id = node.start(&pod, config).await;
        let script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; \
            for f in $(ls -d /sys/fs/cgroup/*/memory.limit_in_bytes /sys/fs/cgroup/*/pids.max /sys/fs/cgroup/memory.max \
            /sys/fs/cgroup/pids.max 2>/dev/null); do echo 99999999 > $f && echo lifted $f; done; true";
        let (_, text) = node.exec(&id, script).await;
        assert!(text.contains("67108864"), "{text}");
        assert!(!text.contains("lifted"), "{text}");
        assert!(text.contains("Read-only file system"), "{text}");
        let (_, text) = node
            .exec(&id, "echo x > /proc/sys/kernel/hostname; echo x > /sys/power/state; cat /proc/keys; true")
            .await;
        assert!(!text.contains("keyring"), "{text}");
    });
}
