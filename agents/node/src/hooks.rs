//! Lifecycle hooks: `postStart` and `preStop`, by command, by HTTP, or by waiting.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};
use mainstay_proto_wire::cri::v1;

use crate::agent::Agent;
use crate::probes::{http, port};

/// The container whose hook runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HookTarget<'a> {
    pub container: &'a Container,
    pub container_id: &'a str,
    pub pod_ip: &'a str,
}

/// Longest time a `postStart` hook may take; upstream has no limit of its own, a bound is better than none.
pub(crate) const POST_START_MAX: Duration = Duration::from_secs(24 * 3600);

/// Runs one hook to its end. The error is a sentence for an event.
pub(crate) async fn run(
    agent: &Agent,
    handler: &LifecycleHandler,
    target: HookTarget<'_>,
    timeout: Duration,
) -> Result<(), String> {
    match tokio::time::timeout(timeout, once(agent, handler, target, timeout)).await {
        Ok(outcome) => outcome,
        Err(_elapsed) => Err(format!("the hook did not end in {} s", timeout.as_secs())),
    }
}

async fn once(
    agent: &Agent,
    handler: &LifecycleHandler,
    target: HookTarget<'_>,
    timeout: Duration,
) -> Result<(), String> {
    if let Some(exec) = &handler.exec {
        let request = v1::ExecSyncRequest {
            container_id: target.container_id.to_owned(),
            cmd: exec.command.clone().unwrap_or_default(),
            timeout: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        };
        let answer = agent.runtime.exec_sync(request).await.map_err(|e| e.to_string())?;
        if answer.exit_code == 0 {
            return Ok(());
        }
        let output = [answer.stdout, answer.stderr].concat();
        return Err(format!(
            "command '{}' exited with {}: {}, message: {:?}",
            exec.command.iter().flatten().cloned().collect::<Vec<_>>().join(" "),
            answer.exit_code,
            String::from_utf8_lossy(&output).trim_end(),
            String::from_utf8_lossy(&output)
        ));
    }
    if let Some(action) = &handler.http_get {
        let port = port::resolve(&action.port, target.container)?;
        let name = format!("kube-lifecycle/{}", agent.config.kubelet_version.trim_start_matches('v'));
        return http::get(action, target.pod_ip, port, &name, timeout).await.map(drop);
    }
    if let Some(sleep) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
        return Ok(());
    }
    Err("invalid handler: it must have one of exec, httpGet, sleep".to_owned())
}
