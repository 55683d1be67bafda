//! What an API server answers about the authority: workers learn whom to trust and say what they have done; administrators see
//! how far an exchange is, and have it go on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::future::BoxFuture;
use http::Method;
use mainstay_apiserver_kinds::NODE;
use mainstay_apiserver_server::request::{RequestContext, read_body};
use mainstay_apiserver_server::types::{Endpoint, EndpointKey, Request, Response};
use mainstay_base::lifecycle::{Clock as _, SystemClock};
use mainstay_base::pki::{Ca, pins};
use mainstay_proto_api::Status;
use mainstay_store::Store;
use serde::{Deserialize, Serialize};
use tracing::info;

use super::decide::{Decision, Machine, Rotation, Step, Wish, decide};
use super::held::Authorities;
use super::lines::{self, Pair};
use super::record::{Record, load, note, standings, store_if, under_way};
use super::standing::{Stage, Standing};
use crate::identities::{CA_VALIDITY, authorities};
use crate::join::{json, require_master};
use crate::versions::{AUTHORITY_EXCHANGE, gate, lacks, misfit};

/// Where nodes say what they trust, and are told what to.
pub(crate) const TRUST: &str = "/mainstay/v1/authorities";
/// Where administrators have an exchange go on.
pub(super) const ROTATION: &str = "/mainstay/v1/authority-rotation";
const NODE_USER: &str = "system:node:";
const BODY_BYTES_MAX: usize = 64 << 10;
/// How often a step is decided anew because somebody else was faster.
const TRIES_MAX: usize = 5;
/// A request is answered within this time, or told why not.
const ANSWER_MAX: Duration = Duration::from_secs(15);

/// Whom a machine is to trust.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Trust {
    /// The authorities, PEM.
    pub(crate) authorities: String,
    /// The one whose certificates it is to have, by its pin.
    pub(crate) signer: String,
    /// How far the server is that says this.
    pub(crate) stage: String,
}

/// What is asked of an exchange.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Asked {
    pub(super) wish: Wish,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct State {
    /// The exchange; none if there never was one.
    pub(super) rotation: Option<Rotation>,
    /// What machines lack that are waited for.
    pub(super) waits: Vec<String>,
    /// Whether what was asked for is done.
    pub(super) is_done: bool,
}

/// What a server answers with.
pub(crate) struct AuthorityDesk {
    /// Its member of the store.
    pub(crate) store: Store,
    /// Its data directory.
    pub(crate) data_dir: PathBuf,
    /// Its name.
    pub(crate) name: String,
}

impl AuthorityDesk {
    /// The endpoints for the API server.
    pub(crate) fn endpoints(self) -> Vec<(EndpointKey, Arc<dyn Endpoint>)> {
        let desk = Arc::new(self);
        let endpoint = |path: &str| (EndpointKey::new("", path, ""), Arc::clone(&desk) as Arc<dyn Endpoint>);
        vec![endpoint(TRUST), endpoint(ROTATION)]
    }

    async fn answer(&self, context: RequestContext, request: Request) -> Result<Response, Status> {
        let (parts, body) = request.into_parts();
        if parts.method != Method::POST {
            return Err(Status::failure(405, "MethodNotAllowed", "the method is not supported here"));
        }
        let is_rotation = parts.uri.path().trim_end_matches('/') == ROTATION;
        if is_rotation {
            require_master(&context)?;
        }
        let body = read_body(&parts.headers, body, BODY_BYTES_MAX).await?;
        let bad = |error: serde_json::Error| Status::bad_request(format!("reading the request: {error}"));
        let unavailable = |error: anyhow::Error| Status::service_unavailable(format!("{error:#}"));
        let answered = async {
            if is_rotation {
                let asked: Asked = serde_json::from_slice(&body).map_err(bad)?;
                let machines = self.machines(&context).await?;
                let state = self.step(&machines, asked.wish).await.map_err(unavailable)?;
                return json(&state.map_err(|why| Status::failure(409, "Conflict", why))?);
            }
            let name = context
                .user()
                .name
                .strip_prefix(NODE_USER)
                .ok_or_else(|| Status::failure(403, "Forbidden", "only a node says what it trusts"))?;
            let standing: Standing = serde_json::from_slice(&body).map_err(bad)?;
            let misfit = misfit(&standing.version, [(self.name.as_str(), mainstay_base::version())]);
            let newer = under_way(&self.store).await.map_err(unavailable)?;
            let why = misfit.or_else(|| lacks(newer, &standing.version));
            why.map_or(Ok(()), |why| Err(Status::failure(409, "Conflict", why)))?;
            note(&self.store, name, &standing).await.map_err(unavailable)?;
            json(&self.trust().map_err(|error| Status::internal(format!("{error:#}")))?)
        };
        tokio::time::timeout(ANSWER_MAX, answered)
            .await
            .map_err(|_elapsed| Status::service_unavailable("the store does not answer".to_owned()))?
    }

    fn authorities(&self) -> anyhow::Result<Authorities> {
        authorities(&self.data_dir.join("pki"), SystemClock.wall())
    }

    fn trust(&self) -> anyhow::Result<Trust> {
        let all = self.authorities()?;
        let signer = pins(all.signing.certificate_pem())?.concat();
        let stage = all.stage()?;
        Ok(Trust { authorities: all.trusted_pem, signer, stage })
    }

    /// All servers and workers, with what they said.
    async fn machines(&self, context: &RequestContext) -> Result<Vec<Machine>, Status> {
        let unavailable = |error: String| Status::service_unavailable(error);
        let members = self
            .store
            .members(true)
            .await
            .map_err(|error| unavailable(format!("reading the servers: {error}")))?;
        let mut said =
            standings(&self.store, true).await.map_err(|error| unavailable(format!("{error:#}")))?;
        let nodes = context.writer.registry().snapshot_fresh(&NODE).await?;
        // A store that never had others has a member without a name.
        let alone = members.len() == 1;
        let server = |member: &mainstay_store::Member| match member.name.as_str() {
            _ if alone => self.name.clone(),
            "" => format!("at {}", member.peer_urls.join(",")),
            name => name.to_owned(),
        };
        let mut names: Vec<(String, bool)> = members.iter().map(|member| (server(member), true)).collect();
        for node in nodes.iter() {
            let name = node.header.name.to_string();
            if !names.iter().any(|(known, _)| *known == name) {
                names.push((name, false));
            }
        }
        let machine = |(name, is_server): (String, bool)| {
            let standing = said.remove(&name);
            Machine { name, is_server, standing }
        };
        Ok(names.into_iter().map(machine).collect())
    }

    /// Goes on by one stage at most, if all machines are ready for it. The inner error is a wish that cannot be fulfilled.
    async fn step(&self, machines: &[Machine], wish: Wish) -> anyhow::Result<Result<State, String>> {
        for _try in 0..TRIES_MAX {
            let (record, read_at, _) = load(&self.store, true).await?;
            let rotation = record.as_ref().map(|record| record.rotation.clone());
            let Decision { step, waits, is_done } = match decide(rotation.as_ref(), machines, wish) {
                Ok(decision) => decision,
                Err(why) => return Ok(Err(why)),
            };
            let next = match (step, record) {
                (Step::Begin, _) => {
                    let versions: Vec<_> = machines.iter().map(Machine::version).collect();
                    if let Err(why) = gate(AUTHORITY_EXCHANGE, &versions) {
                        return Ok(Err(why));
                    }
                    self.begin().await?
                }
                (Step::To(stage), Some(record)) => record.at(stage),
                _ => return Ok(Ok(State { rotation, waits, is_done })),
            };
            if store_if(&self.store, &next, read_at).await? {
                info!(stage = ?next.rotation.stage, new = next.rotation.new, "the authority is exchanged");
                let rotation = Some(next.rotation);
                let now = decide(rotation.as_ref(), machines, Wish::Look).unwrap_or(Decision {
                    step: Step::Nothing,
                    waits: Vec::new(),
                    is_done: false,
                });
                return Ok(Ok(State { rotation, waits: now.waits, is_done: false }));
            }
        }
        anyhow::bail!("other servers do the same at this time: try again")
    }

    /// A record of a new authority.
    async fn begin(&self) -> anyhow::Result<Record> {
        let data_dir = self.data_dir.clone();
        let made = tokio::task::spawn_blocking(move || {
            let folder = data_dir.join("pki");
            let now = SystemClock.wall();
            let old = authorities(&folder, now)?; // before the key is read: it takes in what an earlier exchange brought
            let file = folder.join("peer-ca.key");
            let secret =
                std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
            let name = format!("mainstay-ca-{:08x}", rand::random::<u32>());
            let generate =
                |name: &str| Ca::generate(name, now, CA_VALIDITY).context("making the new authority");
            let new = generate(&name)?;
            let (others, pairs) =
                lines::make(|line| generate(&format!("mainstay-{line}-{:08x}", rand::random::<u32>())))?;
            let pin = |ca: &Ca| pins(ca.certificate_pem()).map(|pins| pins.concat());
            let rotation =
                Rotation { stage: Stage::Trusted, old: pin(&old.serving)?, new: pin(&new)?, others };
            Record::new(rotation, &Pair::of(&new), &pairs, &secret)
        });
        made.await.context("making the new authority")?
    }
}

impl Endpoint for AuthorityDesk {
    fn call(&self, context: RequestContext, request: Request) -> BoxFuture<'_, Result<Response, Status>> {
        Box::pin(self.answer(context, request))
    }
}
