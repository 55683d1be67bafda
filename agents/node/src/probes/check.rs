//! One probe attempt.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use mainstay_proto_wire::cri::{Code, RuntimeService, v1};
use tokio::net::TcpStream;

use super::{grpc, http, port};

/// What one attempt found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    Failure(String),
    /// The attempt itself could not be made; it counts as a failure, with upstream's other message.
    Errored(String),
}

/// The container under probe.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub container: &'a Container,
    pub container_id: &'a str,
    pub pod_ip: &'a str,
    pub agent_name: &'a str,
}

/// Probes once, within the probe's timeout.
pub(crate) async fn check(runtime: &dyn RuntimeService, probe: &Probe, target: Target<'_>) -> Outcome {
    let seconds = probe.timeout_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(1).max(1);
    let timeout = Duration::from_secs(seconds);
    if let Some(exec) = &probe.exec {
        let command = exec.command.clone().unwrap_or_default();
        return run_command(runtime, target.container_id, command, seconds).await;
    }
    if let Some(action) = &probe.http_get {
        let port = match port::resolve(&action.port, target.container) {
            Ok(port) => port,
            Err(error) => return Outcome::Errored(error),
        };
        let answer = http::get(action, target.pod_ip, port, target.agent_name, timeout).await;
        return match answer {
            Ok(answer) if (200..400).contains(&answer.status) => Outcome::Success,
            Ok(answer) => Outcome::Failure(format!("HTTP probe failed with statuscode: {}", answer.status)),
            Err(error) => Outcome::Failure(error),
        };
    }
    if let Some(action) = &probe.tcp_socket {
        let host = action.host.as_deref().filter(|h| !h.is_empty()).unwrap_or(target.pod_ip);
        return match port::resolve(&action.port, target.container) {
            Ok(port) => connect(host, port, timeout).await,
            Err(error) => Outcome::Errored(error),
        };
    }
    if let Some(action) = &probe.grpc {
        let Ok(port) = u16::try_from(action.port) else {
            return Outcome::Errored(format!("invalid port number: {}", action.port));
        };
        let service = action.service.clone().unwrap_or_default();
        return grpc::check(target.pod_ip, port, &service, timeout).await;
    }
    Outcome::Errored("missing probe handler".to_owned())
}

async fn run_command(runtime: &dyn RuntimeService, id: &str, cmd: Vec<String>, seconds: u64) -> Outcome {
    let timeout = i64::try_from(seconds).unwrap_or(i64::MAX);
    let request = v1::ExecSyncRequest { container_id: id.to_owned(), cmd, timeout };
    match runtime.exec_sync(request).await {
        Ok(answer) if answer.exit_code == 0 => Outcome::Success,
        Ok(answer) => {
            let mut output = answer.stdout;
            output.extend(answer.stderr);
            Outcome::Failure(String::from_utf8_lossy(&output).into_owned())
        }
        Err(error) if error.code == Code::DeadlineExceeded => {
            Outcome::Failure(format!("command timed out after {seconds}s"))
        }
        Err(error) => Outcome::Errored(error.to_string()),
    }
}

async fn connect(host: &str, port: u16, timeout: Duration) -> Outcome {
    match tokio::time::timeout(timeout, TcpStream::connect((host, port))).await {
        Ok(Ok(_stream)) => Outcome::Success,
        Ok(Err(error)) => {
            Outcome::Failure(format!("dial tcp {host}:{port}: connect: {}", http::go_error(&error)))
        }
        Err(_elapsed) => Outcome::Failure(format!("dial tcp {host}:{port}: i/o timeout")),
    }
}
