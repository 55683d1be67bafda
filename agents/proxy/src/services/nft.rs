//! Runs `nft -f -` with a transaction on its standard input.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// A full load of 5,000 Services took 3.8 s on two cores; this is far above.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Why a transaction was not applied; nft applies all of it or nothing.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The program could not be run.
    #[error("nft could not be run")]
    Run(#[source] std::io::Error),
    /// It ran and refused.
    #[error("nft refused the transaction: {message}")]
    Refused {
        /// Its first lines of complaint.
        message: String,
    },
    /// It did not end in time and was killed.
    #[error("nft did not end within {} s", TIMEOUT.as_secs())]
    Timeout,
}

/// Applies one transaction.
pub(crate) async fn apply(transaction: &str) -> Result<(), NftError> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(NftError::Run)?;
    let work = async {
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(transaction.as_bytes()).await.map_err(NftError::Run)?;
        }
        child.wait_with_output().await.map_err(NftError::Run)
    };
    let output = tokio::time::timeout(TIMEOUT, work).await.map_err(|_elapsed| NftError::Timeout)??;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(NftError::Refused { message: complaint.lines().take(4).collect::<Vec<_>>().join("; ") })
}

/// Removes a table with all it holds; fine where there is none.
///
/// # Errors
/// `nft` cannot be run or refuses.
pub async fn remove_table(table: &str) -> Result<(), NftError> {
    apply(&format!("table ip {table} {{\n}}\ndelete table ip {table}\n")).await
}
