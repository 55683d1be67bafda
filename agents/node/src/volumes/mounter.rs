//! Makes and takes down all volumes of a pod. Blocking: runs on the blocking pool.

use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod, Volume, VolumeMount};
use mainstay_proto_wire::cri::v1;

use super::atomic_writer;
use super::empty_dir;
use super::error::VolumeError;
use super::host_path;
use super::kind::{VolumeKind, kind};
use super::ownership::Owner;
use super::payload::{ContentSources, fs_group, payload};
use super::sub_path;
use crate::names::PodDirs;
use crate::spec::env::Environment;
use crate::spec::expand::expand_strict;
use crate::termination_message;

/// Everything that making a pod's volumes needs.
#[derive(Debug)]
pub(crate) struct MountRequest {
    pub pod: Arc<Pod>,
    pub dirs: PodDirs,
    pub sources: ContentSources,
    /// Names the new directories of changed volumes; unique per pod.
    pub stamp: String,
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

fn volumes(pod: &Pod) -> &[Volume] {
    pod.spec.as_ref().and_then(|s| s.volumes.as_deref()).unwrap_or_default()
}

/// Makes every volume, or brings its files up to date. The error names the volume.
pub(crate) fn mount_all(request: &MountRequest) -> Result<(), (String, VolumeError)> {
    let dir = request.dirs.pod(uid(&request.pod));
    let named = |error| (String::new(), error);
    fs::create_dir_all(&dir).map_err(VolumeError::io("creating", &dir)).map_err(named)?;
    for volume in volumes(&request.pod) {
        mount_one(request, volume).map_err(|error| (volume.name.clone(), error))?;
    }
    Ok(())
}

fn mount_one(request: &MountRequest, volume: &Volume) -> Result<(), VolumeError> {
    let pod = &request.pod;
    let kind = kind(volume)?;
    let dir = request.dirs.volume(uid(pod), kind.plugin(), &volume.name);
    let owner = Owner { group: fs_group(pod) };
    match kind {
        VolumeKind::EmptyDir => match &volume.empty_dir {
            Some(source) => empty_dir::set_up(&dir, source, owner),
            None => Ok(()),
        },
        VolumeKind::HostPath => volume.host_path.as_ref().map_or(Ok(()), host_path::set_up),
        _ => {
            let files = payload(pod, volume, &request.sources)?;
            atomic_writer::write(&dir, &files, &request.stamp, owner).map(drop)
        }
    }
}

/// Takes down every mount of the pod and removes its directory.
pub(crate) fn unmount_all(dirs: &PodDirs, uid: &str) -> Result<(), VolumeError> {
    let dir = dirs.pod(uid);
    for mounted in mounts_below(&dir)?.iter().rev() {
        empty_dir::unmount_all_at(mounted)?;
    }
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(VolumeError::io("removing", &dir)(error))
        }
        _ => Ok(()),
    }
}

/// The mount points below `dir` in the order they were made.
fn mounts_below(dir: &Path) -> Result<Vec<PathBuf>, VolumeError> {
    let table = Path::new("/proc/self/mountinfo");
    let text = fs::read_to_string(table).map_err(VolumeError::io("reading", table))?;
    let paths = text.lines().filter_map(|line| line.split(' ').nth(4)).map(|p| PathBuf::from(unescape(p)));
    Ok(paths.filter(|p| p.starts_with(dir)).collect())
}

/// mountinfo writes blanks as `\040` and the like.
fn unescape(path: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'\\' {
            let code = bytes.by_ref().take(3).fold(0_u32, |n, d| n * 8 + u32::from(d.saturating_sub(b'0')));
            out.extend(u8::try_from(code));
        } else {
            out.push(byte);
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The mounts of one container: its volumes, its termination message, the pod's hosts file.
pub(crate) fn container_mounts(
    dirs: &PodDirs,
    pod: &Pod,
    container: &Container,
    restart_count: u32,
    environment: &Environment,
) -> Result<Vec<v1::Mount>, VolumeError> {
    let mut mounts = Vec::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        mounts.push(volume_mount(dirs, pod, container, (index, mount), environment)?);
    }
    let hosts = dirs.etc_hosts(uid(pod));
    if hosts.exists() && !mounts.iter().any(|m| m.container_path == "/etc/hosts") {
        mounts.push(plain("/etc/hosts", &hosts));
    }
    let message = container.termination_message_path.as_deref().unwrap_or("/dev/termination-log");
    if !message.is_empty() {
        let file = termination_message::file(dirs, uid(pod), &container.name, restart_count);
        create_message_file(&file)?;
        mounts.push(plain(message, &file));
    }
    Ok(mounts)
}

fn plain(container_path: &str, host: &Path) -> v1::Mount {
    v1::Mount {
        container_path: container_path.to_owned(),
        host_path: host.to_string_lossy().into_owned(),
        ..Default::default()
    }
}

/// Any user of the container may write its last words.
fn create_message_file(file: &Path) -> Result<(), VolumeError> {
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent).map_err(VolumeError::io("creating", parent))?;
    }
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o666)
        .custom_flags(libc::O_NOFOLLOW)
        .open(file)
        .map_err(VolumeError::io("creating", file))?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o666))
        .map_err(VolumeError::io("setting the mode of", file))
}

fn volume_mount(
    dirs: &PodDirs,
    pod: &Pod,
    container: &Container,
    (index, mount): (usize, &VolumeMount),
    environment: &Environment,
) -> Result<v1::Mount, VolumeError> {
    let volume = volumes(pod)
        .iter()
        .find(|v| v.name == mount.name)
        .ok_or_else(|| VolumeError::Undeclared(mount.name.clone()))?;
    let kind = kind(volume)?;
    let root = match (&volume.host_path, kind) {
        (Some(source), VolumeKind::HostPath) => PathBuf::from(&source.path),
        _ => dirs.volume(uid(pod), kind.plugin(), &volume.name),
    };
    let sub = sub_path_of(mount, environment)?;
    let host = match sub {
        Some(sub) if !sub.is_empty() => {
            let target = dirs
                .pod(uid(pod))
                .join("volume-subpaths")
                .join(&volume.name)
                .join(&container.name)
                .join(index.to_string());
            sub_path::bind(&root, &sub, &target).map_err(|reason| VolumeError::SubPath {
                volume: volume.name.clone(),
                container: container.name.clone(),
                reason,
            })?;
            target
        }
        _ => root,
    };
    let propagation = match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => v1::MountPropagation::PropagationHostToContainer,
        Some("Bidirectional") => v1::MountPropagation::PropagationBidirectional,
        _ => v1::MountPropagation::PropagationPrivate,
    };
    Ok(v1::Mount {
        container_path: absolute(&mount.mount_path),
        host_path: host.to_string_lossy().into_owned(),
        readonly: mount.read_only == Some(true) || kind.written_by_agent(),
        propagation: propagation.into(),
        recursive_read_only: mount.recursive_read_only.as_deref() == Some("Enabled"),
        ..Default::default()
    })
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

fn sub_path_of(mount: &VolumeMount, environment: &Environment) -> Result<Option<String>, VolumeError> {
    if let Some(template) = mount.sub_path_expr.as_deref().filter(|t| !t.is_empty()) {
        return expand_strict(template, &|name| environment.get(name))
            .map(Some)
            .map_err(|variable| VolumeError::SubPathExpr { volume: mount.name.clone(), variable });
    }
    Ok(mount.sub_path.clone())
}
