//! What shim and helper hand each other, as files.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// One task of a helper.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HelperRequest {
    pub(crate) container: String,
    /// Directory with the container's config.json.
    pub(crate) bundle: PathBuf,
    /// libcontainer's state directory.
    pub(crate) state_root: PathBuf,
    /// Where the terminal's master is wanted, if there is a terminal.
    pub(crate) console: Option<PathBuf>,
    /// Where the result goes.
    pub(crate) result: PathBuf,
    /// For a command in a running container: file with the arguments as a JSON list.
    pub(crate) exec_arguments: Option<PathBuf>,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum HelperResult {
    Started { pid: i32 },
    Failed { message: String },
}
