//! Signs approved requests, or says why they cannot be (upstream's `csrsigning`).

use std::sync::Arc;
use std::time::Duration;

use ::time::OffsetDateTime;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use k8s_openapi::jiff::Timestamp;
use mainstay_agents_kit::ObjectKey;
use mainstay_agents_kit::informer::{Informers, Reader};
use mainstay_agents_kit::reconcile::{Next, ObserveError, Reconciler, Watch};
use mainstay_agents_kit::step::{Step, Target};
use mainstay_agents_kit::time::time;
use serde_json::json;
use tokio::sync::watch;

use super::authority::Authority;
use super::profile::Profile;
use super::state::{condition, is_issued};
use super::subject::Subject;

/// How long a certificate is valid that asks for no time, and at most.
const LIFETIME: Duration = Duration::from_secs(365 * 86_400);
/// The shortest lifetime that is honoured.
const LIFETIME_MIN: Duration = Duration::from_secs(600);

/// What a subject with several organizations, say, is told.
const REPEATED: &str = "the subject names a kind of attribute more than once, which this signer cannot issue: ask for one organization";

/// Signs requests.
pub(crate) struct Signer {
    requests: Reader<CertificateSigningRequest>,
    authority: watch::Receiver<Authority>,
}

pub(crate) struct World {
    pub(super) request: Arc<CertificateSigningRequest>,
    pub(super) result: Signed,
    pub(super) now: Timestamp,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Signed {
    /// Nothing is to be done.
    No,
    /// The certificate, PEM.
    Certificate(String),
    /// The signer's rules do not allow it.
    Refused(String),
}

/// What is to be done about a request, before anything is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    Nothing,
    Refuse(String),
    /// Sign, for so long.
    Sign(Duration),
}

/// Decides. Pure.
pub(super) fn wanted(request: &CertificateSigningRequest) -> Wanted {
    let Some(profile) = Profile::of(&request.spec.signer_name) else { return Wanted::Nothing };
    let approved = condition(request, "Approved").is_some() && condition(request, "Denied").is_none();
    if !approved || is_issued(request) || condition(request, "Failed").is_some() {
        return Wanted::Nothing;
    }
    let usages = request.spec.usages.as_deref().unwrap_or_default();
    let checked = Subject::parse(&request.spec.request.0).and_then(|subject| {
        profile.check(&subject, usages)?;
        // The library that writes certificates holds one attribute of a kind; a group must not get lost.
        if subject.repeats { Err(REPEATED.to_owned()) } else { Ok(()) }
    });
    if let Err(why) = checked {
        return Wanted::Refuse(why);
    }
    let asked = request.spec.expiration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Wanted::Sign(asked.map_or(LIFETIME, |seconds| Duration::from_secs(seconds).clamp(LIFETIME_MIN, LIFETIME)))
}

impl Signer {
    pub(crate) fn new(informers: &Informers, authority: watch::Receiver<Authority>) -> Self {
        Self { requests: informers.reader(), authority }
    }

    fn sign(&self, request: &CertificateSigningRequest, now: Timestamp) -> Result<Signed, String> {
        let authority = self.authority.borrow().clone();
        let lifetime = match wanted(request) {
            Wanted::Nothing => return Ok(Signed::No),
            Wanted::Refuse(why) => return Ok(Signed::Refused(why)),
            Wanted::Sign(lifetime) => lifetime.min(authority.lifetime),
        };
        let now = OffsetDateTime::from_unix_timestamp(now.as_second()).map_err(|error| error.to_string())?;
        let pem = String::from_utf8_lossy(&request.spec.request.0);
        let usages = request.spec.usages.as_deref().unwrap_or_default();
        authority.sign(&pem, usages, now, now + lifetime).map(Signed::Certificate)
    }
}

impl Reconciler for Signer {
    type World = World;

    fn name(&self) -> &'static str {
        "certificatesigningrequest-signing-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![Watch::of(&self.requests)]
    }

    async fn observe(&self, key: &ObjectKey, now: Timestamp) -> Result<Option<World>, ObserveError> {
        let Some(request) = self.requests.get(key) else { return Ok(None) };
        let result = self.sign(&request, now);
        let result = result.map_err(|why| ObserveError::new("what a certificate is signed with", why))?;
        Ok(Some(World { request, result, now }))
    }

    fn plan(&self, world: &World) -> (Vec<Step>, Next) {
        plan(world)
    }
}

pub(super) fn plan(world: &World) -> (Vec<Step>, Next) {
    let mut request = world.request.as_ref().clone();
    let status = request.status.get_or_insert_default();
    match &world.result {
        Signed::No => return (Vec::new(), Next::Done),
        Signed::Certificate(pem) => status.certificate = Some(ByteString(pem.clone().into_bytes())),
        Signed::Refused(why) => {
            status.conditions.get_or_insert_default().push(CertificateSigningRequestCondition {
                type_: "Failed".to_owned(),
                status: "True".to_owned(),
                reason: Some("SignerValidationFailure".to_owned()),
                message: Some(why.clone()),
                last_update_time: Some(time(world.now)),
                last_transition_time: None,
            });
        }
    }
    let step =
        Step::Replace { target: Target::of(&request), subresource: Some("status"), body: json!(request) };
    (vec![step], Next::Done)
}
