//! Removes requests that are of no use any more (upstream's `csrcleaner`), when their time comes.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::jiff::Timestamp;
use mainstay_agents_kit::ObjectKey;
use mainstay_agents_kit::informer::{Informers, Reader};
use mainstay_agents_kit::reconcile::{Next, ObserveError, Reconciler, Watch};
use mainstay_agents_kit::step::Step;
use mainstay_agents_kit::time::{elapsed, plus};

use super::state::{condition, is_issued};

/// How long a decided request is kept, and one that nobody decides on.
const DECIDED: Duration = Duration::from_secs(3600);
const PENDING: Duration = Duration::from_secs(24 * 3600);

/// Removes old requests.
pub(crate) struct Cleaner {
    requests: Reader<CertificateSigningRequest>,
}

pub(crate) struct World {
    pub(super) request: Arc<CertificateSigningRequest>,
    pub(super) now: Timestamp,
}

impl Cleaner {
    pub(crate) fn new(informers: &Informers) -> Self {
        Self { requests: informers.reader() }
    }
}

impl Reconciler for Cleaner {
    type World = World;

    fn name(&self) -> &'static str {
        "certificatesigningrequest-cleaner-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![Watch::of(&self.requests)]
    }

    async fn observe(&self, key: &ObjectKey, now: Timestamp) -> Result<Option<World>, ObserveError> {
        Ok(self.requests.get(key).map(|request| World { request, now }))
    }

    fn plan(&self, world: &World) -> (Vec<Step>, Next) {
        plan(world)
    }
}

pub(super) fn plan(world: &World) -> (Vec<Step>, Next) {
    let Some(due) = due(&world.request) else { return (Vec::new(), Next::Done) };
    if due <= world.now {
        return (vec![Step::delete(world.request.as_ref())], Next::Done);
    }
    (Vec::new(), Next::After(elapsed(world.now, due)))
}

/// When the request is to go.
fn due(request: &CertificateSigningRequest) -> Option<Timestamp> {
    let decided = |kind: &str| Some(condition(request, kind)?.last_update_time.as_ref()?.0);
    let created = request.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let ends = request.status.as_ref().and_then(|status| status.certificate.as_ref()).and_then(end_of);
    let after = |at: Option<Timestamp>, time: Duration| at.map(|at| plus(at, time));
    let by_decision =
        [decided("Approved").filter(|_| is_issued(request)), decided("Denied"), decided("Failed")];
    let mut dues: Vec<Timestamp> = by_decision.into_iter().filter_map(|at| after(at, DECIDED)).collect();
    dues.extend(ends);
    if dues.is_empty() {
        dues.extend(after(created, PENDING));
    }
    dues.into_iter().min()
}

/// When an issued certificate ends; none for one that cannot be read.
fn end_of(certificate: &k8s_openapi::ByteString) -> Option<Timestamp> {
    let pem = std::str::from_utf8(&certificate.0).ok()?;
    let ends = mainstay_base::pki::not_after(pem).ok()?;
    Timestamp::from_second(ends.unix_timestamp()).ok()
}
