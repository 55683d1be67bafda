//! The configuration of encryption at rest: the administrator's, or one with a key that is made at the first start.

use std::path::Path;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mainstay_apiserver_server::encryption::EncryptionConfig;
use rand::RngCore as _;

use crate::api_server::encryption_config;
use crate::config::Config;
use crate::data_dir::{DataDir, write_atomically};

/// Its name in the data directory.
pub(crate) const FILE: &str = "encryption.yaml";

/// What the flag says, else what the data directory's file says, which is made where it is missing.
///
/// # Errors
/// A file that cannot be written, or whose text is wrong.
pub(crate) fn configured(config: &Config, dir: &DataDir) -> anyhow::Result<EncryptionConfig> {
    if let Some(given) = &config.api_server.encryption {
        return Ok(given.clone());
    }
    own(&dir.join(FILE))
}

fn own(file: &Path) -> anyhow::Result<EncryptionConfig> {
    if !file.exists() {
        let mut key = [0; 32];
        rand::rng().fill_bytes(&mut key);
        write_atomically(file, text(&STANDARD.encode(key)).as_bytes(), 0o600)
            .context("making the key of encryption at rest")?;
    }
    encryption_config("encryption at rest", file)
}

/// The last provider reads what was stored before there was a key.
fn text(key: &str) -> String {
    format!(
        "# Made by mainstay. The key that Secrets are stored under: without it they cannot be read. To rotate it, put a new\n\
         # key before it, restart, write all Secrets again (kubectl get secrets -A -o json | kubectl replace -f -), then\n\
         # remove the old key.\n\
         apiVersion: apiserver.config.k8s.io/v1\n\
         kind: EncryptionConfiguration\n\
         resources:\n\
         - resources: [secrets]\n\
         \u{20} providers:\n\
         \u{20} - secretbox:\n\
         \u{20}     keys:\n\
         \u{20}     - name: key1\n\
         \u{20}       secret: {key}\n\
         \u{20} - identity: {{}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_key_is_made_once_and_is_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE);
        own(&file).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let first = std::fs::read_to_string(&file).unwrap();
        own(&file).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), first);
    }
}
