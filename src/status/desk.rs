//! `GET /mainstay/v1/status` of a server: gathers what it tells of itself. Who may ask is decided by the authorizer, as for every path.

use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use http::{HeaderValue, Method, header};
use mainstay_apiserver_server::request::RequestContext;
use mainstay_apiserver_server::types::{Endpoint, EndpointKey, Request, Response, full_body};
use mainstay_base::lifecycle::Clock;
use mainstay_proto_api::Status;
use mainstay_store::{Alarm, AlarmKind, Store};
use tokio::sync::watch;

use super::report::{CertificateReport, MemberReport, ServerReport};
use crate::certs_command::held;
use crate::snapshots::ScheduleState;

/// Where a server is asked how it is.
pub(crate) const STATUS: &str = "/mainstay/v1/status";

/// What a server answers with.
pub(crate) struct StatusDesk {
    /// The store's member in this process.
    pub(crate) store: Store,
    /// The server's name.
    pub(crate) name: String,
    /// The data directory.
    pub(crate) data_dir: PathBuf,
    /// What its schedule of snapshots tells.
    pub(crate) snapshots: watch::Receiver<Option<ScheduleState>>,
    /// Time.
    pub(crate) clock: Arc<dyn Clock>,
}

impl StatusDesk {
    /// The endpoint for the API server.
    pub(crate) fn endpoint(self) -> (EndpointKey, Arc<dyn Endpoint>) {
        (EndpointKey::new("", STATUS, ""), Arc::new(self))
    }

    async fn answer(&self, method: Method) -> Result<Response, Status> {
        if method != Method::GET {
            return Err(Status::failure(405, "MethodNotAllowed", "the method is not supported here"));
        }
        let store = self.member().await?;
        let data_dir = self.data_dir.clone();
        let certificates = tokio::task::spawn_blocking(move || certificates(&data_dir)).await;
        let certificates = certificates.map_err(|error| Status::internal(error.to_string()))?;
        let now = self.clock.wall();
        let report = ServerReport {
            name: self.name.clone(),
            version: mainstay_base::version().to_owned(),
            unix_millis: i64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX),
            store,
            snapshots: self.snapshots.borrow().clone(),
            certificates,
        };
        let body = serde_json::to_vec(&report).map_err(|error| Status::internal(error.to_string()))?;
        let mut response = Response::new(full_body(body));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        Ok(response)
    }

    async fn member(&self) -> Result<MemberReport, Status> {
        let status = self.store.status().await;
        let status = status.map_err(|error| Status::service_unavailable(error.to_string()))?;
        let hexadecimal = |id: u64| format!("{id:016x}");
        let own = status.alarms.iter().filter(|alarm| alarm.member_id == status.member_id);
        Ok(MemberReport {
            id: hexadecimal(status.member_id),
            leader: status.leader.map(hexadecimal),
            term: status.term,
            raft_index: status.raft_index,
            applied_index: status.applied_index,
            revision: status.revision.0,
            size_bytes: status.db_size_bytes,
            quota_bytes: status.quota_bytes,
            no_space: status.no_space,
            alarms: own.map(alarm_name).collect(),
        })
    }
}

impl Endpoint for StatusDesk {
    fn call(&self, _context: RequestContext, request: Request) -> BoxFuture<'_, Result<Response, Status>> {
        Box::pin(self.answer(request.method().clone()))
    }
}

fn alarm_name(alarm: &Alarm) -> String {
    match alarm.kind {
        AlarmKind::NoSpace => "NOSPACE".to_owned(),
        AlarmKind::Corrupt => "CORRUPT".to_owned(),
    }
}

/// The certificates of a data directory, or why they cannot be read.
pub(super) fn certificates(data_dir: &std::path::Path) -> Result<Vec<CertificateReport>, String> {
    let held = held(data_dir).map_err(|error| format!("{error:#}"))?;
    let report = held.into_iter().map(|held| CertificateReport {
        is_authority: held.facts.is_authority,
        renewed_at: held.facts.renewed_at().unix_timestamp(),
        not_after: held.facts.not_after.unix_timestamp(),
        name: held.name,
    });
    Ok(report.collect())
}
