//! The last step inside the container: from libcontainer's process to the user's program. For a command in a running
//! container it also does what libcontainer 0.7 leaves out there: join the user namespace and load the seccomp
//! filter. libcontainer starts such a process as root with everything; the privileges fall here.

use libcontainer::capabilities::{drop_privileges, reset_effective};
use libcontainer::oci_spec::runtime::{LinuxCapabilities, LinuxSeccomp, Spec};
use libcontainer::seccomp::initialize_seccomp;
use libcontainer::syscall::syscall::create_syscall;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use nix::sched::{CloneFlags, setns};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::rc::Rc;

/// Who a command must become before it runs.
#[derive(Clone)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    pub(super) capabilities: Option<LinuxCapabilities>,
    pub(super) no_new_privileges: bool,
    pub(super) seccomp: Option<LinuxSeccomp>,
    /// The container's user namespace, when it is not ours.
    pub(super) user_namespace: Option<Rc<OwnedFd>>,
}

/// Starts the program.
#[derive(Clone)]
pub(super) struct Launch {
    /// Close-on-exec pipe that carries the reason when the program cannot be executed.
    pub(super) errors: Option<Rc<OwnedFd>>,
    /// Present for commands in running containers.
    pub(super) identity: Option<Identity>,
}

impl Executor for Launch {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let message = match self.become_identity().and_then(|()| prepare(spec)) {
            Ok((path, arguments, environment)) => {
                crate::sys::restore_signals();
                let error = crate::sys::exec(&path, &arguments, &environment);
                format!("exec: {:?}: {}", path.to_string_lossy(), plain(&error))
            }
            Err(message) => message,
        };
        if let Some(errors) = &self.errors {
            let _said = nix::unistd::write(errors, message.as_bytes());
        }
        Err(ExecutorError::Other(message))
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        program(spec).map(drop).map_err(ExecutorValidationError::ArgValidationError)
    }

    /// The environment goes to execve directly.
    fn setup_envs(&self, _envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }
}

impl Launch {
    fn become_identity(&self) -> Result<(), String> {
        let Some(identity) = &self.identity else { return Ok(()) };
        let syscall = create_syscall();
        if let Some(namespace) = &identity.user_namespace {
            setns(namespace.as_ref(), CloneFlags::CLONE_NEWUSER)
                .map_err(|error| format!("joining the user namespace: {error}"))?;
        }
        // Without no_new_privs only a privileged process may load a filter: before the privileges fall.
        if !identity.no_new_privileges {
            load_filter(identity)?;
        }
        let groups: Vec<Gid> = identity.groups.iter().map(|group| Gid::from_raw(*group)).collect();
        setgroups(&groups).map_err(|error| format!("setting the groups: {error}"))?;
        become_user(identity)
            .map_err(|error| format!("becoming user {}:{}: {error}", identity.uid, identity.gid))?;
        reset_effective(syscall.as_ref()).map_err(|error| format!("reading capabilities: {error}"))?;
        if let Some(capabilities) = &identity.capabilities {
            drop_privileges(capabilities, syscall.as_ref())
                .map_err(|error| format!("dropping capabilities: {error}"))?;
        }
        if identity.no_new_privileges {
            nix::sys::prctl::set_no_new_privs().map_err(|error| format!("setting no_new_privs: {error}"))?;
            load_filter(identity)?;
        }
        Ok(())
    }
}

/// Changes the ids and keeps the capabilities, which are dropped one by one afterwards.
fn become_user(identity: &Identity) -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    nix::sys::prctl::set_keepcaps(true)?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    nix::sys::prctl::set_keepcaps(false)
}

fn load_filter(identity: &Identity) -> Result<(), String> {
    match &identity.seccomp {
        Some(seccomp) => match initialize_seccomp(seccomp) {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err("seccomp profiles that notify a listener are not supported".to_owned()),
            Err(error) => Err(format!("loading the seccomp profile: {error}")),
        },
        None => Ok(()),
    }
}

type Program = (CString, Vec<CString>, Vec<CString>);

fn prepare(spec: &Spec) -> Result<Program, String> {
    let path = program(spec)?;
    let process = spec.process().as_ref().ok_or("the specification has no process")?;
    let text =
        |part: &String| CString::new(part.as_bytes()).map_err(|_nul| "a NUL byte in the command".to_owned());
    let path = text(&path.to_string_lossy().into_owned())?;
    let arguments: Result<Vec<_>, _> = process.args().iter().flatten().map(text).collect();
    let environment: Result<Vec<_>, _> = process.env().iter().flatten().map(text).collect();
    Ok((path, arguments?, environment?))
}

/// The program's file, found as a shell would. The words of the errors are those that users know from runc.
fn program(spec: &Spec) -> Result<PathBuf, String> {
    let process = spec.process().as_ref().ok_or("the specification has no process")?;
    let name = process.args().iter().flatten().next().ok_or("no command specified")?;
    if name.contains('/') {
        return match std::fs::metadata(name) {
            Ok(found) if found.is_dir() => Err(format!("exec: {name:?}: is a directory")),
            Ok(found) if found.permissions().mode() & 0o111 == 0 => {
                Err(format!("exec: {name:?}: permission denied"))
            }
            Ok(_) => Ok(PathBuf::from(name)),
            Err(error) => Err(format!("exec: {name:?}: stat {name}: {}", plain(&error))),
        };
    }
    let path = process.env().iter().flatten().find_map(|pair| pair.strip_prefix("PATH=")).unwrap_or_default();
    path.split(':')
        .map(|dir| PathBuf::from(if dir.is_empty() { "." } else { dir }).join(name))
        .find(|file| {
            std::fs::metadata(file)
                .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        })
        .ok_or_else(|| format!("exec: {name:?}: executable file not found in $PATH"))
}

/// An error of the system in small letters and without its number.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.to_lowercase()
}

/// Reads the error pipe to its end: empty when the program runs.
pub(super) fn read_errors(pipe: OwnedFd) -> String {
    let mut text = String::new();
    drop(std::io::Read::read_to_string(&mut std::fs::File::from(pipe), &mut text));
    text
}
