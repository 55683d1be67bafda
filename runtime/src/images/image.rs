//! An image's configuration: what it wants to run and as whom.

use super::reference::is_digest;
use crate::failure::{Attempt, Failure, Result};
use serde::Deserialize;

/// The part of an OCI image configuration that matters for running it.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct ImageConfig {
    #[serde(default)]
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default)]
    pub(crate) config: Execution,
    #[serde(default)]
    pub(crate) rootfs: RootFs,
}

/// Docker writes `null` where nothing is set: every field accepts it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Execution {
    pub(crate) user: Option<String>,
    pub(crate) env: Option<Vec<String>>,
    pub(crate) entrypoint: Option<Vec<String>>,
    pub(crate) cmd: Option<Vec<String>>,
    pub(crate) working_dir: Option<String>,
    pub(crate) stop_signal: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct RootFs {
    #[serde(default)]
    pub(crate) diff_ids: Vec<String>,
}

impl ImageConfig {
    /// Parses a configuration and checks that it fits this machine and its manifest.
    pub(crate) fn parse(bytes: &[u8], layers: usize) -> Result<Self> {
        let config: Self = serde_json::from_slice(bytes)
            .attempt("parsing the image configuration")
            .map_err(|failure| failure.with_code(mainstay_proto_wire::cri::Code::InvalidArgument))?;
        if !config.os.is_empty() && config.os != "linux" {
            return Err(Failure::invalid(format!("the image is for {}, not linux", config.os)));
        }
        let machine = super::manifest::architecture();
        if !config.architecture.is_empty() && config.architecture != machine {
            return Err(Failure::invalid(format!(
                "the image is for {}, this machine is {machine}",
                config.architecture
            )));
        }
        if config.rootfs.diff_ids.len() != layers {
            return Err(Failure::invalid(format!(
                "the image configuration lists {} layers, the manifest {layers}",
                config.rootfs.diff_ids.len()
            )));
        }
        if !config.rootfs.diff_ids.iter().all(|id| is_digest(id)) {
            return Err(Failure::invalid("the image configuration lists an invalid layer digest"));
        }
        Ok(config)
    }
}
