//! The data directory of a machine that joins: filled first, and a cluster's only when all is there.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::data_dir::{DataDir, write_atomically};

/// DER as PEM.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let lines: Vec<String> =
        encoded.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// Writes `files` below the directory; keys for their owner only.
pub(super) fn write_all(dir: &DataDir, files: &BTreeMap<String, String>) -> anyhow::Result<()> {
    for (name, text) in files {
        let file = dir.join(name);
        let folder = file.parent().context("a file without a folder")?;
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let is_public = Path::new(name).extension().is_some_and(|end| end == "crt");
        write_atomically(&file, text.as_bytes(), if is_public { 0o644 } else { 0o600 })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_base::pki::Ca;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    #[test]
    fn a_certificate_survives_its_text() {
        let ca =
            Ca::generate("x", time::OffsetDateTime::now_utc(), std::time::Duration::from_secs(9)).unwrap();
        let der = CertificateDer::from_pem_slice(ca.certificate_pem().as_bytes()).unwrap();
        let again = pem("CERTIFICATE", &der);
        assert_eq!(CertificateDer::from_pem_slice(again.as_bytes()).unwrap(), der);
    }
}
