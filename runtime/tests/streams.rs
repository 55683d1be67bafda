//! Exec with a terminal, attach, port-forward, host ports. Needs root.
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

use mainstay_proto_wire::cri::{RuntimeService, Streams, TerminalSize, v1};
use node::{Node, on_node};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

#[test]
fn exec_with_a_terminal_has_its_size_and_ends_with_its_code() {
    on_node(async |node| {
        let pod = node.pod("tty").await;
        let id = node.start(&pod, Node::script("c", "sleep 1000")).await;
        let request = v1::ExecRequest {
            container_id: id,
            cmd: vec!["sh".into()],
            tty: true,
            stdin: true,
            stdout: true,
            ..Default::default()
        };
        let session = node.runtime.exec(request).await.unwrap();
        let size = TerminalSize { width: 93, height: 41 };
        session.resize.as_ref().unwrap().send(size).await.unwrap();
        let (mut stdin, mut stdout) = (session.stdin.unwrap(), session.stdout.unwrap());
        stdin.write_all(b"until stty size | grep '41 93'; do :; done; tty; exit 4\n").await.unwrap();
        let mut text = String::new();
        stdout.read_to_string(&mut text).await.unwrap();
        assert!(text.contains("41 93") && text.contains("/dev/pts/"), "{text}");
        assert_eq!(session.exit.await.unwrap().unwrap(), 4);
    });
}

#[test]
fn exec_streams_stay_apart_and_input_ends() {
    on_node(async |node| {
        let pod = node.pod("pipes").await;
        let id = node.start(&pod, Node::script("c", "sleep 1000")).await;
        let request = v1::ExecRequest {
            container_id: id,
            cmd: vec!["sh".into(), "-c".into(), "cat; echo err >&2; exit 3".into()],
            stdin: true,
            stdout: true,
            stderr: true,
            ..Default::default()
        };
        let session = node.runtime.exec(request).await.unwrap();
        let mut stdin = session.stdin.unwrap();
        stdin.write_all(b"through").await.unwrap();
        drop(stdin);
        let (mut out, mut err) = (String::new(), String::new());
        session.stdout.unwrap().read_to_string(&mut out).await.unwrap();
        session.stderr.unwrap().read_to_string(&mut err).await.unwrap();
        assert_eq!((out.as_str(), err.as_str()), ("through", "err\n"));
        assert_eq!(session.exit.await.unwrap().unwrap(), 3);
    });
}

#[test]
fn exec_past_its_time_is_killed() {
    on_node(async |node| {
        let pod = node.pod("slow").await;
        let id = node.start(&pod, Node::script("c", "sleep 1000")).await;
        let request = v1::ExecSyncRequest {
            container_id: id.clone(),
            cmd: vec!["sleep".into(), "777".into()],
            timeout: 1,
        };
        let error = node.runtime.exec_sync(request).await.unwrap_err();
        assert_eq!(error.code, mainstay_proto_wire::cri::Code::DeadlineExceeded);
        let (_, left) =
            node.exec(&id, "until ! ps | grep -v grep | grep 'sleep 777'; do :; done; echo gone").await;
        assert!(left.ends_with("gone\n"));
    });
}

#[test]
fn attached_input_once_ends_with_its_sender() {
    on_node(async |node| {
        let pod = node.pod("once").await;
        let mut config = Node::script("c", "cat; echo end; exit 6");
        (config.stdin, config.stdin_once) = (true, true);
        let id = node.start(&pod, config).await;
        let request = v1::AttachRequest {
            container_id: id.clone(),
            stdin: true,
            stdout: true,
            stderr: true,
            ..Default::default()
        };
        let session = node.runtime.attach(request).await.unwrap();
        let mut stdin = session.stdin.unwrap();
        stdin.write_all(b"hello\n").await.unwrap();
        let mut lines = BufReader::new(session.stdout.unwrap()).lines();
        assert_eq!(lines.next_line().await.unwrap().unwrap(), "hello");
        stdin.shutdown().await.unwrap();
        assert_eq!(lines.next_line().await.unwrap().unwrap(), "end");
        assert_eq!(session.exit.await.unwrap().unwrap(), 6);
        assert_eq!(node.log(&id).await, "hello\nend\n");
    });
}

#[test]
fn container_with_a_terminal_logs_and_can_be_attached() {
    on_node(async |node| {
        let pod = node.pod("tty2").await;
        let mut config = Node::script("c", "read line; echo got $line; exit 0");
        (config.stdin, config.tty) = (true, true);
        let id = node.start(&pod, config).await;
        let request = v1::AttachRequest {
            container_id: id.clone(),
            stdin: true,
            stdout: true,
            tty: true,
            ..Default::default()
        };
        let session = node.runtime.attach(request).await.unwrap();
        let mut stdin = session.stdin.unwrap();
        stdin.write_all(b"words\n").await.unwrap();
        assert_eq!(session.exit.await.unwrap().unwrap(), 0);
        assert!(node.log(&id).await.contains("got words"));
    });
}

#[test]
fn port_forward_and_host_port_reach_the_pod() {
    on_node(async |node| {
        let mut config = node.pod_config("ports");
        let port = 20_000 + (rand::random::<u16>() % 10_000);
        config.port_mappings = vec![v1::PortMapping {
            protocol: v1::Protocol::Tcp.into(),
            container_port: 80,
            host_port: i32::from(port),
            host_ip: String::new(),
        }];
        let pod = node.pod_with(config).await;
        let script = "while :; do echo served | nc -l -p 80; done";
        let id = node.start(&pod, Node::script("c", script)).await;
        let ready = "until cat /proc/net/tcp /proc/net/tcp6 | grep -q ':0050 .* 0A '; do sleep 0.05; done";
        node.exec(&id, ready).await;
        let mut stream = node.runtime.port_forward(pod.clone(), 80).await.unwrap();
        let mut line = String::new();
        BufReader::new(&mut stream).read_line(&mut line).await.unwrap();
        assert_eq!(line, "served\n");
        drop(stream);
        let fetch = async {
            loop {
                let Ok(stream) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await else { continue };
                let mut line = String::new();
                if BufReader::new(stream).read_line(&mut line).await.is_ok() && line == "served\n" {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), fetch)
            .await
            .expect("the host port does not lead to the pod");
        assert!(node.runtime.port_forward(pod.clone(), 81).await.is_err());
        node.runtime.stop_pod_sandbox(v1::StopPodSandboxRequest { pod_sandbox_id: pod }).await.unwrap();
        assert!(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err());
    });
}

#[test]
fn shared_process_namespace_shows_the_other_container() {
    on_node(async |node| {
        let pod = node.pod("shared").await;
        let share = |mut config: v1::ContainerConfig| {
            let context = config.linux.as_mut().unwrap().security_context.as_mut().unwrap();
            context.namespace_options = Some(v1::NamespaceOption::default());
            config
        };
        let first = node.start(&pod, share(Node::script("a", "sleep 4321"))).await;
        let second = node.start(&pod, share(Node::script("b", "sleep 1000"))).await;
        let (_, seen) = node.exec(&second, "ps").await;
        assert!(seen.contains("sleep 4321"), "{seen}");
        node.stop(&first, 0).await;
        let (_, seen) = node.exec(&second, "ps").await;
        assert!(!seen.contains("sleep 4321"), "{seen}");
    });
}
