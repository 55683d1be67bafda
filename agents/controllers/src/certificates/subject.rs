//! What a PKCS #10 request asks for. Pure; total over any bytes.

use std::net::IpAddr;

use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer as _;

/// Subject and alternative names of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) common_name: String,
    pub(super) organizations: Vec<String>,
    pub(super) dns_names: Vec<String>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) emails: usize,
    pub(super) uris: usize,
    /// Whether a kind of attribute stands in the subject more than once.
    pub(super) repeats: bool,
}

impl Subject {
    /// Reads the PEM of a request.
    pub(super) fn parse(pem: &[u8]) -> Result<Self, String> {
        let (_, block) = parse_x509_pem(pem).map_err(|error| error.to_string())?;
        if block.label != "CERTIFICATE REQUEST" {
            return Err("PEM block type must be CERTIFICATE REQUEST".to_owned());
        }
        let (_, request) =
            X509CertificationRequest::from_der(&block.contents).map_err(|error| error.to_string())?;
        let info = &request.certification_request_info;
        let text = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            attribute.as_str().map(str::to_owned).unwrap_or_default()
        };
        let mut subject = Self {
            common_name: info.subject.iter_common_name().last().map(text).unwrap_or_default(),
            organizations: info.subject.iter_organization().map(text).collect(),
            ..Self::default()
        };
        let mut kinds: Vec<String> =
            info.subject.iter_attributes().map(|attribute| attribute.attr_type().to_id_string()).collect();
        let all = kinds.len();
        kinds.sort();
        kinds.dedup();
        subject.repeats = kinds.len() < all;
        for extension in request.requested_extensions().into_iter().flatten() {
            let ParsedExtension::SubjectAlternativeName(names) = extension else { continue };
            for name in &names.general_names {
                match name {
                    GeneralName::DNSName(name) => subject.dns_names.push((*name).to_owned()),
                    GeneralName::IPAddress(bytes) => subject.addresses.push(address(bytes)?),
                    GeneralName::RFC822Name(_) => subject.emails += 1,
                    GeneralName::URI(_) => subject.uris += 1,
                    _ => {}
                }
            }
        }
        Ok(subject)
    }
}

fn address(bytes: &[u8]) -> Result<IpAddr, String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Ok(four.into());
    }
    let sixteen = <[u8; 16]>::try_from(bytes);
    sixteen.map(IpAddr::from).map_err(|_size| "an IP subjectAltName has 4 or 16 bytes".to_owned())
}
