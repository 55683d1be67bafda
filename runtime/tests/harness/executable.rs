//! The executable that tests run: shim and helper of the library, and a daemon that is killed.

use mainstay_base::lifecycle::Tasks;
use mainstay_proto_wire::cri::{RuntimeService, v1};
use mainstay_runtime::{Config, OCI_COMMAND, Runtime, SHIM_COMMAND, oci, shim};
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match args.split_first() {
        Some((word, rest)) if word == SHIM_COMMAND => shim::main(rest),
        Some((word, rest)) if word == OCI_COMMAND => oci::main(rest),
        Some((word, rest)) if word == "daemon" => match daemon(rest) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                drop(writeln!(std::io::stderr(), "{error}"));
                ExitCode::FAILURE
            }
        },
        _ => ExitCode::from(2),
    }
}

/// `daemon DATA RUN CLUSTER CIDR LOGS SCRIPT`: runs a pod with one container, prints both ids, and waits to be killed.
fn daemon(args: &[OsString]) -> Result<(), Box<dyn std::error::Error>> {
    let text: Vec<&str> = args.iter().filter_map(|arg| arg.to_str()).collect();
    let [data, run, cluster, cidr, logs, script] = text.as_slice() else {
        return Err("six arguments".into());
    };
    let mut config = Config::new(PathBuf::from(data), PathBuf::from(run), cluster, cidr.parse()?);
    config.self_exe = PathBuf::from("/proc/self/exe");
    let tokio = tokio::runtime::Runtime::new()?;
    tokio.block_on(async {
        let tasks = Tasks::new("harness", CancellationToken::new());
        let runtime = Runtime::open(config, &tasks).await?;
        let pod = v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata {
                name: "kept".into(),
                namespace: "default".into(),
                uid: "u1".into(),
                attempt: 0,
            }),
            hostname: "kept".into(),
            log_directory: (*logs).to_owned(),
            ..Default::default()
        };
        let request = v1::RunPodSandboxRequest { config: Some(pod.clone()), ..Default::default() };
        let sandbox = runtime.run_pod_sandbox(request).await?.pod_sandbox_id;
        let container = v1::ContainerConfig {
            metadata: Some(v1::ContainerMetadata { name: "c".into(), attempt: 0 }),
            image: Some(v1::ImageSpec { image: "test/busybox:1".into(), ..Default::default() }),
            command: vec!["/bin/sh".into(), "-c".into(), (*script).to_owned()],
            log_path: "c/0.log".into(),
            ..Default::default()
        };
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: sandbox.clone(),
            config: Some(container),
            sandbox_config: Some(pod),
        };
        let id = runtime.create_container(request).await?.container_id;
        runtime.start_container(v1::StartContainerRequest { container_id: id.clone() }).await?;
        let mut out = std::io::stdout();
        writeln!(out, "{sandbox} {id}")?;
        out.flush()?;
        std::future::pending::<()>().await;
        Ok(())
    })
}
