//! TLS to a store, of files that may change while the server runs: each new connection is made with what they hold then, as
//! with etcd's own client.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::config::{EtcdConfigError, EtcdTls};

/// How a file was when it was read: length and time of change.
type Stamp = (u64, Option<SystemTime>);

/// What connections are made with. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct FollowedTls(Arc<Followed>);

#[derive(Debug)]
struct Followed {
    files: EtcdTls,
    loaded: Mutex<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    config: Arc<ClientConfig>,
    stamps: Vec<Option<Stamp>>,
}

impl FollowedTls {
    /// Reads the files.
    ///
    /// # Errors
    /// One that cannot be used.
    pub(super) fn load(files: &EtcdTls) -> Result<Self, EtcdConfigError> {
        let stamps = stamps(files);
        let config = Arc::new(config(files)?);
        let loaded = Mutex::new(Loaded { config, stamps });
        Ok(Self(Arc::new(Followed { files: files.clone(), loaded })))
    }

    /// What a new connection is made with. Files that cannot be used leave the last ones in use.
    pub(super) fn current(&self) -> Arc<ClientConfig> {
        let Followed { files, loaded } = &*self.0;
        let stamps = stamps(files);
        let mut loaded = loaded.lock();
        if loaded.stamps != stamps {
            loaded.stamps = stamps;
            match config(files) {
                Ok(config) => {
                    tracing::info!("the certificates for the store were read again");
                    loaded.config = Arc::new(config);
                }
                Err(error) => {
                    tracing::warn!(%error, "changed certificates for the store cannot be used; the last ones stay");
                }
            }
        }
        Arc::clone(&loaded.config)
    }
}

fn stamps(files: &EtcdTls) -> Vec<Option<Stamp>> {
    let stamp = |file: &PathBuf| {
        let data = std::fs::metadata(file).ok()?;
        Some((data.len(), data.modified().ok()))
    };
    let EtcdTls { ca_file, cert_file, key_file } = files;
    [ca_file, cert_file, key_file].into_iter().flatten().map(stamp).collect()
}

fn config(files: &EtcdTls) -> Result<ClientConfig, EtcdConfigError> {
    let roots = match &files.ca_file {
        Some(file) => authorities(file)?,
        None => machine_authorities(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| EtcdConfigError::Protocol(error.to_string()))?
        .with_root_certificates(roots);
    let mut config = match (&files.cert_file, &files.key_file) {
        (Some(cert), Some(key)) => {
            let wrong = |file: &Path, why: &dyn std::fmt::Display| EtcdConfigError::Identity {
                file: file.to_owned(),
                why: why.to_string(),
            };
            let chain: Result<Vec<_>, _> =
                CertificateDer::pem_slice_iter(&read(cert).map_err(|why| wrong(cert, &why))?).collect();
            let chain = chain.map_err(|error| wrong(cert, &error))?;
            let pem = read(key).map_err(|why| wrong(key, &why))?;
            let key_der = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| wrong(key, &error))?;
            builder.with_client_auth_cert(chain, key_der).map_err(|error| wrong(cert, &error))?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("cannot be read: {error}"))
}

fn authorities(file: &Path) -> Result<RootCertStore, EtcdConfigError> {
    let wrong = |why: &dyn std::fmt::Display| EtcdConfigError::Authority {
        file: file.to_owned(),
        why: why.to_string(),
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&read(file).map_err(|why| wrong(&why))?) {
        roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
    }
    if roots.is_empty() {
        return Err(wrong(&"there is no certificate in it"));
    }
    Ok(roots)
}

/// What this machine believes; those of them that cannot be used are left out, as everywhere.
fn machine_authorities() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    fn write(dir: &Path) -> EtcdTls {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["store".to_owned()]).unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        for (name, text) in [("ca", &pem), ("crt", &pem), ("key", &key.serialize_pem())] {
            std::fs::write(dir.join(name), text).unwrap();
        }
        let file = |name| Some(dir.join(name));
        EtcdTls { ca_file: file("ca"), cert_file: file("crt"), key_file: file("key") }
    }

    #[test]
    fn changed_files_are_used_from_the_next_connection_on_and_broken_ones_never() {
        let dir = tempfile::tempdir().unwrap();
        let tls = FollowedTls::load(&write(dir.path())).unwrap();
        let first = tls.current();
        assert!(Arc::ptr_eq(&first, &tls.current()), "nothing has changed");
        std::fs::write(dir.path().join("key"), "no key").unwrap();
        assert!(Arc::ptr_eq(&first, &tls.current()), "what cannot be used leaves the last ones");
        write(dir.path());
        // The key's length differs from the broken one's.
        assert!(!Arc::ptr_eq(&first, &tls.current()));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let files = write(dir.path());
        let error = |files: &EtcdTls| FollowedTls::load(files).unwrap_err().to_string();
        let lost = EtcdTls { ca_file: Some("/nowhere".into()), ..files.clone() };
        assert!(error(&lost).contains("/nowhere: cannot be read"), "{}", error(&lost));
        std::fs::write(dir.path().join("crt"), "").unwrap();
        assert!(error(&files).contains("crt"), "{}", error(&files));
    }
}
