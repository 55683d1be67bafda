//! Why a volume is not there.

use std::io;
use std::path::{Path, PathBuf};

use crate::spec::downward::DownwardError;

/// A volume that cannot be made; the texts end up in `FailedMount` events.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    #[error("volume type {0:?} is not supported by this node")]
    Unsupported(String),
    #[error("configmap \"{0}\" not found")]
    ConfigMapMissing(String),
    #[error("secret \"{0}\" not found")]
    SecretMissing(String),
    #[error("references non-existent config key: {0}")]
    ConfigKey(String),
    #[error("references non-existent secret key: {0}")]
    SecretKey(String),
    #[error("invalid path {0:?}: it must be relative and stay inside the volume")]
    Path(String),
    #[error(transparent)]
    Downward(#[from] DownwardError),
    #[error("failed to fetch token: {0}")]
    Token(String),
    #[error("hostPath type check failed: {path} is not {wanted}")]
    HostPathType { path: String, wanted: &'static str },
    #[error("volume \"{0}\" is not declared in spec.volumes")]
    Undeclared(String),
    #[error(
        "failed to create subPath directory for volumeMount \"{volume}\" of container \"{container}\": {reason}"
    )]
    SubPath { volume: String, container: String, reason: String },
    #[error("missing value for \"{variable}\" in the subPathExpr of volumeMount \"{volume}\"")]
    SubPathExpr { volume: String, variable: String },
    #[error("the contents are {0} bytes, more than a volume of this kind may hold")]
    TooLarge(usize),
    #[error("{0}")]
    Quantity(String),
    #[error("{what} {path}")]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the volume task ended early")]
    Task,
}

impl VolumeError {
    /// Names the operation and the path of a failed system call.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { what, path, source }
    }

    /// The error with its causes, for an event.
    pub(crate) fn sentence(&self) -> String {
        match self {
            Self::Io { source, .. } => format!("{self}: {source}"),
            other => other.to_string(),
        }
    }
}
