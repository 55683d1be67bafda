//! Entry of the helper process. Runs before any thread exists: libcontainer clones this process and allocates in the
//! clone, which hangs in a process with threads.

use super::executor::{Identity, Launch, read_errors};
use super::request::{HelperRequest, HelperResult};
use crate::durable::{self, Sync};
use crate::failure::{Attempt, Failure, Result};
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::{LinuxNamespaceType, Spec};
use libcontainer::syscall::syscall::SyscallType;
use nix::fcntl::OFlag;
use serde_json::json;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

/// The hidden subcommand that makes the executable a helper.
pub const SUBCOMMAND: &str = "runtime-oci";
const REQUEST_BYTES_MAX: u64 = 1 << 20;

/// Does what the request file says; `args` come behind [`SUBCOMMAND`]. The result is a file too: the streams of this
/// process are the container's.
pub fn main(args: &[OsString]) -> ExitCode {
    crate::sys::unblock_signals();
    let Some(request) = args.first().and_then(|path| read_request(Path::new(path)).ok()) else {
        return ExitCode::from(2);
    };
    let done = match &request.exec_arguments {
        None => run(&request),
        Some(arguments) => exec(&request, arguments),
    };
    let result = match done {
        Ok(pid) => HelperResult::Started { pid },
        Err(failure) => HelperResult::Failed { message: failure.chain().chars().take(8000).collect() },
    };
    let written =
        serde_json::to_vec(&result).map(|bytes| durable::replace(&request.result, &bytes, Sync::No).is_ok());
    if written.unwrap_or(false) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn read_request(path: &Path) -> Result<HelperRequest> {
    let bytes = durable::read(path, REQUEST_BYTES_MAX).attempt("reading the request")?;
    let bytes = bytes.ok_or_else(|| Failure::internal("there is no request"))?;
    serde_json::from_slice(&bytes).attempt("parsing the request")
}

fn builder(request: &HelperRequest, launch: Launch) -> Result<ContainerBuilder> {
    ContainerBuilder::new(request.container.clone(), SyscallType::default())
        .with_executor(launch)
        .with_console_socket(request.console.clone())
        .with_root_path(request.state_root.clone())
        .and_then(ContainerBuilder::validate_id)
        .attempt("preparing the container")
}

/// Creates the container and starts its process, a child of our parent.
fn run(request: &HelperRequest) -> Result<i32> {
    let (errors, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).attempt("making a pipe")?;
    let write = Rc::new(write);
    let launch = Launch { errors: Some(Rc::clone(&write)), identity: None };
    let mut container = builder(request, launch)?
        .as_init(&request.bundle)
        .as_sibling(true)
        .with_systemd(false)
        .with_detach(true)
        .build()
        .attempt("creating the container")?;
    let pid = container.pid().ok_or_else(|| Failure::internal("the container has no process"))?.as_raw();
    container.start().attempt("starting the container")?;
    // The builder, and with it every other copy of the write end in this process, is gone by now.
    drop(Rc::into_inner(write));
    let said = read_errors(errors);
    if said.is_empty() { Ok(pid) } else { Err(Failure::internal(said)) }
}

/// Runs a command in the running container, as the container's own user unless root.
fn exec(request: &HelperRequest, arguments: &Path) -> Result<i32> {
    let spec =
        Spec::load(request.bundle.join("config.json")).attempt("reading the container's specification")?;
    let words = durable::read(arguments, REQUEST_BYTES_MAX).attempt("reading the command")?;
    let words = words.ok_or_else(|| Failure::internal("there is no command"))?;
    let words: Vec<String> = serde_json::from_slice(&words).attempt("parsing the command")?;
    let process_file = arguments.with_file_name("process.json");
    write_process(&spec, &words, request.console.is_some(), &process_file)?;
    let identity = identity(&spec, request)?;
    let started = builder(request, Launch { errors: None, identity: Some(identity) })?
        .as_tenant()
        .with_process(Some(process_file.clone()))
        .as_sibling(true)
        .with_detach(true)
        .build();
    drop(durable::remove_file(&process_file));
    Ok(started.attempt("starting the command")?.as_raw())
}

/// The process for libcontainer: root with all it has. [`Launch`] makes it what the container's process is.
fn write_process(spec: &Spec, words: &[String], terminal: bool, path: &Path) -> Result<()> {
    let own = spec.process().as_ref().ok_or_else(|| Failure::internal("the container has no process"))?;
    let mut environment = own.env().clone().unwrap_or_default();
    if terminal && !environment.iter().any(|pair| pair.starts_with("TERM=")) {
        environment.push("TERM=xterm".to_owned());
    }
    let process = json!({
        "terminal": terminal,
        "user": {"uid": 0, "gid": 0},
        "args": words,
        "env": environment,
        "cwd": own.cwd(),
        "rlimits": own.rlimits(),
        "oomScoreAdj": own.oom_score_adj(),
    });
    let bytes = serde_json::to_vec(&process).attempt("writing the command")?;
    durable::replace(path, &bytes, Sync::No).attempt("writing the command")
}

fn identity(spec: &Spec, request: &HelperRequest) -> Result<Identity> {
    let own = spec.process().as_ref().ok_or_else(|| Failure::internal("the container has no process"))?;
    let user = own.user();
    let linux = spec.linux().as_ref();
    let spaces = linux.and_then(|linux| linux.namespaces().as_ref()).into_iter().flatten();
    let user_namespace = if spaces.into_iter().any(|space| space.typ() == LinuxNamespaceType::User) {
        let state = libcontainer::container::Container::load(request.state_root.join(&request.container))
            .attempt("reading the container's state")?;
        let pid = state.pid().ok_or_else(|| Failure::precondition("the container does not run"))?;
        let file =
            std::fs::File::open(format!("/proc/{pid}/ns/user")).attempt("opening the user namespace")?;
        Some(Rc::new(OwnedFd::from(file)))
    } else {
        None
    };
    Ok(Identity {
        uid: user.uid(),
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
        capabilities: own.capabilities().clone(),
        no_new_privileges: own.no_new_privileges().unwrap_or(false),
        seccomp: linux.and_then(|linux| linux.seccomp().clone()),
        user_namespace,
    })
}
