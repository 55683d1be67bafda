//! Which kind a declared volume is, and where it lives below the pod's directory. Pure.

use k8s_openapi::api::core::v1::Volume;

use super::error::VolumeError;

/// The kinds that this node makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VolumeKind {
    EmptyDir,
    ConfigMap,
    Secret,
    DownwardApi,
    Projected,
    HostPath,
}

impl VolumeKind {
    /// The name upstream's plugin has in paths.
    pub(crate) fn plugin(self) -> &'static str {
        match self {
            Self::EmptyDir => "empty-dir",
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
            Self::DownwardApi => "downward-api",
            Self::Projected => "projected",
            Self::HostPath => "host-path",
        }
    }

    /// Whether the agent writes its files, so that they are read-only for containers.
    pub(crate) fn written_by_agent(self) -> bool {
        matches!(self, Self::ConfigMap | Self::Secret | Self::DownwardApi | Self::Projected)
    }
}

/// The kind of `volume`; the error names the field that this node does not know.
pub(crate) fn kind(volume: &Volume) -> Result<VolumeKind, VolumeError> {
    if volume.empty_dir.is_some() {
        return Ok(VolumeKind::EmptyDir);
    }
    if volume.config_map.is_some() {
        return Ok(VolumeKind::ConfigMap);
    }
    if volume.secret.is_some() {
        return Ok(VolumeKind::Secret);
    }
    if volume.downward_api.is_some() {
        return Ok(VolumeKind::DownwardApi);
    }
    if volume.projected.is_some() {
        return Ok(VolumeKind::Projected);
    }
    if volume.host_path.is_some() {
        return Ok(VolumeKind::HostPath);
    }
    let fields = serde_json::to_value(volume).ok();
    let other = fields.as_ref().and_then(|v| v.as_object()).and_then(|o| o.keys().find(|k| *k != "name"));
    Err(VolumeError::Unsupported(other.cloned().unwrap_or_else(|| "none".to_owned())))
}
