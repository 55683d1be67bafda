//! Approves what nodes ask for themselves, where the requester may have it (upstream's `csrapproving`).

use std::sync::Arc;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use mainstay_agents_kit::ObjectKey;
use mainstay_agents_kit::informer::{Informers, Reader};
use mainstay_agents_kit::reconcile::{Next, ObserveError, Reconciler, Watch};
use mainstay_agents_kit::step::{Step, Target};
use mainstay_agents_kit::time::time;
use serde_json::json;

use super::profile::Profile;
use super::state::{condition, is_issued};
use super::subject::Subject;

/// Approves requests of nodes.
pub(crate) struct Approver {
    client: kube::Client,
    requests: Reader<CertificateSigningRequest>,
}

pub(crate) struct World {
    pub(super) request: Arc<CertificateSigningRequest>,
    /// What the requester may have, of what the request is recognised as.
    pub(super) granted: Option<Recognized>,
    pub(super) now: Timestamp,
}

/// Upstream's two ways in which a node asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recognized {
    /// A node renews its own certificate.
    SelfNodeClient,
    /// Somebody asks for a node.
    NodeClient,
}

impl Recognized {
    fn subresource(self) -> &'static str {
        match self {
            Self::SelfNodeClient => "selfnodeclient",
            Self::NodeClient => "nodeclient",
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::SelfNodeClient => {
                "Auto approving self kubelet client certificate after SubjectAccessReview."
            }
            Self::NodeClient => "Auto approving kubelet client certificate after SubjectAccessReview.",
        }
    }
}

/// What a request that nobody has decided on can be approved as, in order. Pure.
pub(super) fn recognized(request: &CertificateSigningRequest) -> Vec<Recognized> {
    let decided = ["Approved", "Denied", "Failed"].iter().any(|kind| condition(request, kind).is_some());
    let spec = &request.spec;
    if decided || is_issued(request) || Profile::of(&spec.signer_name) != Some(Profile::KubeletClient) {
        return Vec::new();
    }
    let Ok(subject) = Subject::parse(&spec.request.0) else { return Vec::new() };
    if Profile::KubeletClient.check(&subject, spec.usages.as_deref().unwrap_or_default()).is_err() {
        return Vec::new();
    }
    if spec.username.as_deref() == Some(subject.common_name.as_str()) {
        return vec![Recognized::SelfNodeClient, Recognized::NodeClient];
    }
    vec![Recognized::NodeClient]
}

impl Approver {
    pub(crate) fn new(informers: &Informers) -> Self {
        Self { client: informers.client(), requests: informers.reader() }
    }

    async fn may(&self, request: &CertificateSigningRequest, what: Recognized) -> Result<bool, ObserveError> {
        let spec = &request.spec;
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: spec.username.clone(),
                uid: spec.uid.clone(),
                groups: spec.groups.clone(),
                extra: spec.extra.clone(),
                resource_attributes: Some(ResourceAttributes {
                    group: Some("certificates.k8s.io".to_owned()),
                    resource: Some("certificatesigningrequests".to_owned()),
                    verb: Some("create".to_owned()),
                    version: Some("*".to_owned()),
                    subresource: Some(what.subresource().to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let answer = Api::all(self.client.clone()).create(&PostParams::default(), &review).await;
        let answer: SubjectAccessReview =
            answer.map_err(|error| ObserveError::new("what the requester may have", error))?;
        Ok(answer.status.is_some_and(|status: SubjectAccessReviewStatus| status.allowed))
    }
}

impl Reconciler for Approver {
    type World = World;

    fn name(&self) -> &'static str {
        "certificatesigningrequest-approving-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![Watch::of(&self.requests)]
    }

    async fn observe(&self, key: &ObjectKey, now: Timestamp) -> Result<Option<World>, ObserveError> {
        let Some(request) = self.requests.get(key) else { return Ok(None) };
        let ways = recognized(&request);
        let mut granted = None;
        for way in &ways {
            if self.may(&request, *way).await? {
                granted = Some(*way);
                break;
            }
        }
        if granted.is_none() && !ways.is_empty() {
            // Rights may come later: tried again, as upstream.
            let name = request.metadata.name.as_deref().unwrap_or_default();
            let why =
                format!("recognized csr {name:?} as {ways:?} but subject access review was not approved");
            return Err(ObserveError::new("the rights of a requester", why));
        }
        Ok(Some(World { request, granted, now }))
    }

    fn plan(&self, world: &World) -> (Vec<Step>, Next) {
        plan(world)
    }
}

pub(super) fn plan(world: &World) -> (Vec<Step>, Next) {
    let Some(granted) = world.granted else { return (Vec::new(), Next::Done) };
    let mut request = world.request.as_ref().clone();
    let condition = CertificateSigningRequestCondition {
        type_: "Approved".to_owned(),
        status: "True".to_owned(),
        reason: Some("AutoApproved".to_owned()),
        message: Some(granted.message().to_owned()),
        last_update_time: Some(time(world.now)),
        last_transition_time: None,
    };
    request.status.get_or_insert_default().conditions.get_or_insert_default().push(condition);
    let step =
        Step::Replace { target: Target::of(&request), subresource: Some("approval"), body: json!(request) };
    (vec![step], Next::Done)
}
