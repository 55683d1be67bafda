//! Whether the certificate and the private key of a TLS secret belong together. Only warned of: secrets are often
//! filled in steps. The texts are those of Go's `tls.X509KeyPair`, which upstream hands on.

use rustls::SignatureAlgorithm;
use rustls_pki_types::PrivateKeyDer;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Types of blocks that a text is told to have, at most.
const SHOWN_MAX: usize = 8;

/// What is wrong with a certificate and a key, both in PEM; nothing when they belong together, or when the key is of a
/// kind that this server cannot read.
pub(super) fn fault(certificate: &[u8], key: &[u8]) -> Option<String> {
    let chain = match first_block(certificate, |label| label == "CERTIFICATE") {
        Ok(block) => block,
        Err(labels) => return Some(missing_certificate(&labels)),
    };
    let is_key = |label: &str| label == "PRIVATE KEY" || label.ends_with(" PRIVATE KEY");
    let key = match first_block(key, is_key) {
        Ok(block) => block,
        Err(labels) => return Some(missing_key(&labels)),
    };
    let Ok((_, certificate)) = X509Certificate::from_der(&chain.contents) else {
        return Some("x509: malformed certificate".into());
    };
    let Ok(der) = PrivateKeyDer::try_from(key.contents) else {
        return Some("tls: failed to parse private key".into());
    };
    let signer = rustls::crypto::ring::sign::any_supported_type(&der).ok()?;
    let own = signer.public_key()?;
    let algorithm = certificate.public_key().algorithm.algorithm.to_id_string();
    let of_key = match signer.algorithm() {
        SignatureAlgorithm::RSA => "1.2.840.113549.1.1.1",
        SignatureAlgorithm::ECDSA => "1.2.840.10045.2.1",
        SignatureAlgorithm::ED25519 => "1.3.101.112",
        _ => return None,
    };
    if algorithm != of_key {
        return Some("tls: private key type does not match public key type".into());
    }
    let same = certificate.public_key().raw == own.as_ref();
    (!same).then(|| "tls: private key does not match public key".into())
}

/// The first block with a fitting label; else the labels that there are.
fn first_block(text: &[u8], fits: impl Fn(&str) -> bool) -> Result<Pem, Vec<String>> {
    let mut labels = Vec::new();
    for block in Pem::iter_from_buffer(text).map_while(Result::ok) {
        if fits(&block.label) {
            return Ok(block);
        }
        if labels.len() < SHOWN_MAX {
            labels.push(block.label);
        }
    }
    Err(labels)
}

fn missing_certificate(labels: &[String]) -> String {
    match labels {
        [] => "tls: failed to find any PEM data in certificate input".into(),
        [only] if only.ends_with("PRIVATE KEY") => {
            "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs \
             may have been switched"
                .into()
        }
        _ => format!(
            "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the \
             following types: [{}]",
            labels.join(" ")
        ),
    }
}

fn missing_key(labels: &[String]) -> String {
    match labels {
        [] => "tls: failed to find any PEM data in key input".into(),
        [only] if only == "CERTIFICATE" => {
            "tls: found a certificate rather than a key in the PEM for the private key".into()
        }
        _ => format!(
            "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks \
             of the following types: [{}]",
            labels.join(" ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["a.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn a_pair_belongs_together_or_the_reason_is_told() {
        let ((certificate, key), (_, other)) = (pair(), pair());
        let of = |certificate: &str, key: &str| fault(certificate.as_bytes(), key.as_bytes());
        assert_eq!(of(&certificate, &key), None);
        assert_eq!(of(&certificate, &other).as_deref(), Some("tls: private key does not match public key"));
        let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
        let types = "tls: private key type does not match public key type";
        assert_eq!(of(&certificate, &ed25519).as_deref(), Some(types));
        for (certificate, key, text) in [
            ("", key.as_str(), "failed to find any PEM data in certificate input"),
            (&key, &key, "PEM inputs may have been switched"),
            (&certificate, "", "failed to find any PEM data in key input"),
            (&certificate, &certificate, "found a certificate rather than a key"),
        ] {
            assert!(of(certificate, key).is_some_and(|why| why.contains(text)), "{text}");
        }
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(of(broken, &key).as_deref(), Some("x509: malformed certificate"));
    }
}
