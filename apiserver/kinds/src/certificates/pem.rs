//! PEM and X.509 as certificates and requests for them stand in objects. Reads any bytes; never trusts a length.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::{FromDer, X509Certificate};

/// One block of a PEM text.
pub(super) struct Block {
    /// What is in it, such as `CERTIFICATE`.
    pub(super) label: String,
    /// Whether lines of headers stand before its content.
    pub(super) has_headers: bool,
    /// The content.
    pub(super) contents: Vec<u8>,
}

impl Block {
    /// The certificate in the block, if it is one and nothing but one.
    pub(super) fn certificate(&self) -> Option<X509Certificate<'_>> {
        X509Certificate::from_der(&self.contents).ok().filter(|(rest, _)| rest.is_empty()).map(|(_, one)| one)
    }
}

/// The blocks of a PEM text. As upstream reads it: what is no sound block is passed over.
pub(super) fn blocks(text: &str) -> Vec<Block> {
    let mut out = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(label) = between(line, "-----BEGIN ") else { continue };
        let mut ahead = lines.clone();
        if let Some(block) = read_block(label, &mut ahead) {
            out.push(block);
            lines = ahead;
        }
    }
    out
}

fn between<'t>(line: &'t str, start: &str) -> Option<&'t str> {
    line.trim_end().strip_prefix(start)?.strip_suffix("-----")
}

/// The block whose first line was read. Ends at the next start of one, so that hostile texts are read twice at most.
fn read_block<'t>(label: &str, lines: &mut impl Iterator<Item = &'t str>) -> Option<Block> {
    let (mut body, mut has_headers) = (String::new(), false);
    for line in lines {
        if line.starts_with("-----BEGIN ") {
            return None;
        }
        if line.starts_with("-----END ") {
            let contents =
                STANDARD.decode(body).ok().filter(|_| between(line, "-----END ") == Some(label))?;
            return Some(Block { label: label.to_owned(), has_headers, contents });
        }
        if body.is_empty() && line.contains(':') {
            has_headers = true;
        } else {
            body.push_str(line.trim());
        }
    }
    None
}

/// Checks a request: base64 of a PEM block with a request that is signed by its own key.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_request(base64: &str) -> Result<(), String> {
    const TYPE: &str = "PEM block type must be CERTIFICATE REQUEST";
    let text = STANDARD.decode(base64).map_err(|error| error.to_string())?;
    let all = blocks(&String::from_utf8_lossy(&text));
    let block = all.first().filter(|block| block.label == "CERTIFICATE REQUEST").ok_or(TYPE)?;
    let (_, request) =
        X509CertificationRequest::from_der(&block.contents).map_err(|error| error.to_string())?;
    request.verify_signature().map_err(|error| format!("the request's signature does not fit: {error}"))
}

/// Checks certificates: base64 of PEM blocks, at least one, all of them certificates.
///
/// # Errors
/// What is wrong with them.
pub(super) fn check_certificates(base64: &str) -> Result<(), String> {
    if base64.is_empty() {
        return Ok(());
    }
    let text = STANDARD.decode(base64).map_err(|error| error.to_string())?;
    let all = blocks(&String::from_utf8_lossy(&text));
    for block in &all {
        if block.label != "CERTIFICATE" {
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {:?}", block.label));
        }
        if block.has_headers {
            return Err(String::from("no PEM block headers are permitted"));
        }
        X509Certificate::from_der(&block.contents).map_err(|error| error.to_string())?;
    }
    if all.is_empty() {
        return Err(String::from("must contain at least one CERTIFICATE PEM block"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_sound_block_is_passed_over() {
        let text = "x\n-----BEGIN A-----\nnot base64!\n-----END A-----\n-----BEGIN B-----\neA==\n-----END C-----\n\
                    -----BEGIN D-----\n-----BEGIN E-----\nk: v\n\ne\nA==\n-----END E-----\n-----BEGIN F-----\n";
        let found = blocks(text);
        let told: Vec<_> =
            found.iter().map(|one| (one.label.as_str(), one.has_headers, one.contents.as_slice())).collect();
        assert_eq!(told, [("E", true, b"x".as_slice())]);
    }
}
