//! `CertificateApproval`, `CertificateSigning`, `ClusterTrustBundleAttest` and `CertificateSubjectRestriction`: who may
//! approve or sign a request for a certificate, or state whom a signer trusts, is decided per signer, and nobody gets a client
//! certificate of `system:masters` by a request.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mainstay_apiserver_machinery::validation::{ErrorList, Path};
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::{FromDer as _, X509CertificationRequest};

use super::step::{Step, Work, refuse};
use crate::types::{AdmissionRequest, Attributes, Authorize, Operation};

const GROUP: &str = "certificates.k8s.io";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";
const MASTERS: &str = "system:masters";

/// The step.
pub struct Certificates {
    authorizer: Arc<dyn Authorize>,
}

impl Certificates {
    /// The step that asks `authorizer` about signers.
    pub fn new(authorizer: Arc<dyn Authorize>) -> Self {
        Self { authorizer }
    }

    async fn check(&self, request: &AdmissionRequest) -> Result<(), Status> {
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        match request.kind.plural {
            "certificatesigningrequests" => {}
            "clustertrustbundles" if writes => return self.check_attest(request).await,
            "podcertificaterequests" if writes => return self.check_chain(request).await,
            _ => return Ok(()),
        }
        match (request.operation, request.subresource.as_str()) {
            (Operation::Create, "") => check_subject(request),
            (Operation::Update, "approval") => self.check_right(request, "approve").await,
            (Operation::Update, "status") if changes_result(request) => {
                self.check_right(request, "sign").await
            }
            _ => Ok(()),
        }
    }

    /// Whether the user may do this for the signer of the stored request.
    async fn check_right(&self, request: &AdmissionRequest, verb: &str) -> Result<(), Status> {
        let old = request.old.as_ref().unwrap_or(&Value::Null);
        let signer = old.path_str(&["spec", "signerName"]).unwrap_or_default();
        if self.may(request, verb, signer).await {
            return Ok(());
        }
        Err(refuse(request, format!("user not permitted to {verb} requests with signerName {signer:?}")))
    }

    /// Whether the user may state whom the signer of a trust bundle trusts; bundles of no signer are for everybody.
    async fn check_attest(&self, request: &AdmissionRequest) -> Result<(), Status> {
        let signer = request.object.path_str(&["spec", "signerName"]).unwrap_or_default();
        if signer.is_empty() || self.may(request, "attest", signer).await {
            return Ok(());
        }
        Err(refuse(request, format!("user not permitted to attest for signerName {signer:?}")))
    }

    /// Whether the user may sign for the signer of the stored request of a pod; upstream's storage refuses it as a fault.
    async fn check_chain(&self, request: &AdmissionRequest) -> Result<(), Status> {
        let (chain, signer): (&[&str], &[&str]) = (&["status", "certificateChain"], &["spec", "signerName"]);
        let Some(old) = request.old.as_ref().filter(|_| request.subresource == "status") else {
            return Ok(());
        };
        let signer = old.path_str(signer).unwrap_or_default();
        if old.path(chain) == request.object.path(chain) || self.may(request, "sign", signer).await {
            return Ok(());
        }
        let mut errors = ErrorList::new();
        let text = format!("User {:?} is not permitted to \"sign\" for signer {signer:?}", request.user.name);
        errors.forbidden(&Path::new("spec").child("signerName"), &text);
        errors.into_result(GROUP, request.kind.kind, &request.name)
    }

    /// Whether the user may do this for a signer, or for all signers of its domain.
    async fn may(&self, request: &AdmissionRequest, verb: &str, signer: &str) -> bool {
        let domain = signer.split_once('/').map_or(signer, |(domain, _)| domain);
        let may = async |name: &str| {
            let attributes = Attributes {
                verb: verb.into(),
                api_group: GROUP.into(),
                api_version: "*".into(),
                resource: "signers".into(),
                name: name.into(),
                resource_request: true,
                ..Attributes::default()
            };
            self.authorizer.authorize(&request.user, &attributes).await.is_allowed()
        };
        may(signer).await || may(&format!("{domain}/*")).await
    }
}

/// Whether a status update issues the certificate or says that it failed.
fn changes_result(request: &AdmissionRequest) -> bool {
    let failed = |object: &Value| {
        let conditions = object.path_list(&["status", "conditions"]).iter();
        conditions.filter(|one| one.path_str(&["type"]) == Some("Failed")).cloned().collect::<Vec<_>>()
    };
    let certificate = |object: &Value| object.path_str(&["status", "certificate"]).map(str::to_owned);
    request.old.as_ref().is_none_or(|old| {
        certificate(old) != certificate(&request.object) || failed(old) != failed(&request.object)
    })
}

fn check_subject(request: &AdmissionRequest) -> Result<(), Status> {
    if request.object.path_str(&["spec", "signerName"]) != Some(CLIENT_SIGNER) {
        return Ok(());
    }
    let encoded = request.object.path_str(&["spec", "request"]).unwrap_or_default();
    let organizations =
        organizations(encoded).map_err(|why| refuse(request, format!("failed to parse CSR: {why}")))?;
    if organizations.iter().any(|organization| organization == MASTERS) {
        let why = format!("use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed");
        return Err(refuse(request, why));
    }
    Ok(())
}

/// The organizations that the subject of a request names.
fn organizations(encoded: &str) -> Result<Vec<String>, String> {
    let pem = STANDARD.decode(encoded).map_err(|error| error.to_string())?;
    let (_, block) = parse_x509_pem(&pem).map_err(|error| error.to_string())?;
    let (_, csr) = X509CertificationRequest::from_der(&block.contents).map_err(|error| error.to_string())?;
    let subject = &csr.certification_request_info.subject;
    Ok(subject.iter_organization().filter_map(|one| one.as_str().ok()).map(str::to_owned).collect())
}

impl Step for Certificates {
    fn validate<'a>(&'a self, request: &'a AdmissionRequest) -> Work<'a, Result<(), Status>> {
        if request.kind.group == GROUP { Some(Box::pin(self.check(request))) } else { None }
    }
}
