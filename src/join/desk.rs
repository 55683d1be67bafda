//! The server's side: tells joining machines what they may know, and makes some of them members.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::BoxFuture;
use http::{HeaderValue, Method, header};
use mainstay_apiserver_kinds::{LEASE, NODE, SECRET};
use mainstay_apiserver_server::request::{RequestContext, read_body};
use mainstay_apiserver_server::types::{Endpoint, EndpointKey, Request, Response, full_body};
use mainstay_base::lifecycle::{Clock as _, SystemClock};
use mainstay_proto_api::Status;
use mainstay_store::{ClusterError, Member, Store};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::net::TcpStream;
use tracing::{info, warn};

use super::claim::{Claim, claim, give_up};
use super::wire::{Facts, MemberList, MemberState, Peer, ServerAnswer, ServerRequest, seal};
use crate::authority::under_way;
use crate::config::{Cluster, is_dns_name};
use crate::identities::{authorities, shared_keys};
use crate::versions::lacks;

/// Where joining machines ask for what they may know.
pub(crate) const FACTS: &str = "/mainstay/v1/cluster";
/// The servers of the cluster.
pub(crate) const SERVERS: &str = "/mainstay/v1/servers";
/// The reason of a refusal that is one for now.
pub(super) const ANOTHER_JOINS: &str = "AnotherServerJoins";
const BOOTSTRAP_USER: &str = "system:bootstrap:";
const MASTERS: &str = "system:masters";
const BODY_BYTES_MAX: usize = 64 << 10;
/// How long the peer port of a joining server may take to answer.
const DIAL_MAX: Duration = Duration::from_secs(2);
/// A node that renewed its Lease within this time lives; upstream's duration of that Lease.
const NODE_ALIVE: Duration = Duration::from_secs(40);

/// What a server answers with.
pub(crate) struct Desk {
    /// The store's member in this process.
    pub(crate) store: Store,
    /// The cluster.
    pub(crate) cluster: Cluster,
    /// Where this API server is reached.
    pub(crate) server: SocketAddr,
    /// The data directory, with the cluster's keys.
    pub(crate) data_dir: PathBuf,
    /// One more file of that kind.
    pub(crate) own: Option<&'static str>,
    /// Why no other server can join; none where one can.
    pub(crate) closed: Option<String>,
}

impl Desk {
    /// The endpoints for the API server.
    pub(crate) fn endpoints(self) -> Vec<(EndpointKey, Arc<dyn Endpoint>)> {
        let desk = Arc::new(self);
        let endpoint = |path: &str| (EndpointKey::new("", path, ""), Arc::clone(&desk) as Arc<dyn Endpoint>);
        vec![endpoint(FACTS), endpoint(SERVERS)]
    }

    async fn answer(&self, context: RequestContext, request: Request) -> Result<Response, Status> {
        let path = request.uri().path().trim_end_matches('/').to_owned();
        match (path.as_str(), request.method()) {
            (FACTS, &Method::GET) => json(&self.facts(&context)?),
            (SERVERS, &Method::GET) => json(&self.members().await?),
            (SERVERS, &Method::POST) => {
                let (parts, body) = request.into_parts();
                let body = read_body(&parts.headers, body, BODY_BYTES_MAX).await?;
                let asked: ServerRequest = serde_json::from_slice(&body)
                    .map_err(|error| Status::bad_request(format!("reading the request to join: {error}")))?;
                json(&self.add(&context, &asked).await?)
            }
            (SERVERS, &Method::DELETE) => {
                let query = request.uri().query().unwrap_or_default();
                let name = parameter(query, "name").unwrap_or_default().to_owned();
                self.remove(&context, &name).await?;
                json(&serde_json::json!({}))
            }
            _ => Err(Status::failure(405, "MethodNotAllowed", "the method is not supported here")),
        }
    }

    fn facts(&self, context: &RequestContext) -> Result<Facts, Status> {
        let now = SystemClock.wall();
        let trusted = authorities(&self.data_dir.join("pki"), now);
        let trusted = trusted.map_err(|error| Status::internal(format!("{error:#}")))?;
        let query = context.query.get("node").map(ToString::to_string).unwrap_or_default();
        Ok(Facts {
            version: mainstay_base::version().to_owned(),
            unix_millis: i64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX),
            cluster_cidr: self.cluster.cluster_cidr,
            service_cidr: self.cluster.service_cidr,
            servers: self.servers(context),
            node_is_alive: node_is_alive(context, &query, now),
            closed_to_servers: self.closed.clone(),
            authorities: trusted.trusted_pem,
        })
    }

    /// The API servers that the cluster lists, this one in any case.
    fn servers(&self, context: &RequestContext) -> Vec<String> {
        let kind = &mainstay_apiserver_kinds::ENDPOINT_SLICE;
        let found = context.writer.registry().get(kind, "default", "kubernetes");
        let slice = found.and_then(|cached| cached.decode().ok());
        let listed = slice.iter().flat_map(|slice| slice.path_list(&["endpoints"]));
        let listed = listed.flat_map(|endpoint| endpoint.path_list(&["addresses"]));
        let mut servers: Vec<String> = listed
            .filter_map(|address| address.as_str()?.parse().ok())
            .map(|ip| SocketAddr::new(ip, self.server.port()).to_string())
            .collect();
        let own = self.server.to_string();
        servers.retain(|server| *server != own);
        servers.insert(0, own);
        servers
    }

    /// Who may ask is decided by the authorizer, as for every path: the roles of joining machines have no `get` of this one.
    async fn members(&self) -> Result<MemberList, Status> {
        let status =
            self.store.status().await.map_err(|error| Status::service_unavailable(error.to_string()))?;
        let members = self.store.members(false).await.map_err(|error| unavailable(&error))?;
        let state = |member: Member| MemberState {
            id: format!("{:016x}", member.id),
            is_leader: status.leader == Some(member.id),
            name: member.name,
            peer_urls: member.peer_urls,
            client_urls: member.client_urls,
            is_learner: member.is_learner,
        };
        Ok(MemberList {
            members: members.into_iter().map(state).collect(),
            raft_index: status.raft_index,
            applied_index: status.applied_index,
        })
    }

    async fn add(&self, context: &RequestContext, asked: &ServerRequest) -> Result<ServerAnswer, Status> {
        self.closed.clone().map_or(Ok(()), |why| Err(refused(why)))?;
        let secret = token_secret(context)?;
        self.check_fits(asked).await?;
        let unavailable = |error: anyhow::Error| Status::service_unavailable(format!("{error:#}"));
        let lease = match claim(&self.store, &asked.name, &asked.peer_url).await.map_err(unavailable)? {
            Claim::Own(lease) => lease,
            Claim::Other(url) => {
                let members = self.store.members(true).await.map_err(|error| self::unavailable(&error))?;
                let why = taken(asked, &members).unwrap_or_else(|| being_taken(&asked.name, &url));
                return Err(refused(why));
            }
        };
        let answer = self.admit(context, asked, &secret).await;
        if answer.as_ref().is_err_and(|why| why.reason != ANOTHER_JOINS)
            && let Err(error) = self.store.lease_revoke(lease).await
        {
            warn!(%error, name = asked.name, "the name of a server that was refused is kept for a minute");
        }
        answer
    }

    /// Looks at what no other machine decides about.
    async fn check_fits(&self, asked: &ServerRequest) -> Result<(), Status> {
        if let Some(why) = super::checks::version_problem(&asked.version, mainstay_base::version()) {
            return Err(refused(why));
        }
        let newer = under_way(&self.store).await;
        let newer = newer.map_err(|error| Status::service_unavailable(format!("{error:#}")))?;
        if let Some(why) = lacks(newer, &asked.version) {
            return Err(refused(why));
        }
        if !is_dns_name(&asked.name) {
            return Err(refused(format!("the name {:?} is not a DNS name", asked.name)));
        }
        let port = self.server.port();
        if asked.api_port != port {
            return Err(refused(format!(
                "the API servers of this cluster listen on port {port}, not {}: give --bind 0.0.0.0:{port}",
                asked.api_port
            )));
        }
        Ok(())
    }

    /// Makes a machine whose name is its own a member of the store.
    async fn admit(
        &self,
        context: &RequestContext,
        asked: &ServerRequest,
        secret: &str,
    ) -> Result<ServerAnswer, Status> {
        let members = self.store.members(true).await.map_err(|error| unavailable(&error))?;
        let known = check_name(context, asked, &members)?;
        dial(&asked.peer_url).await?;
        if known.is_none() {
            let added = self.store.member_add(vec![asked.peer_url.clone()], false).await;
            let added = added.map_err(|error| match error {
                ClusterError::NotEnoughStarted => busy(not_added(&error)),
                error => refused(not_added(&error)),
            })?;
            info!(
                name = asked.name,
                url = asked.peer_url,
                id = format!("{:016x}", added.id),
                "a server joins"
            );
        }
        let others = members.into_iter().filter(|member| !member.peer_urls.contains(&asked.peer_url));
        let others = others.filter(|member| !member.name.is_empty());
        let keys = shared_keys(&self.data_dir, self.own);
        let sealed = keys
            .and_then(|keys| seal(&keys, secret))
            .map_err(|error| Status::internal(format!("{error:#}")))?;
        Ok(ServerAnswer {
            members: others.map(|member| Peer { name: member.name, peer_urls: member.peer_urls }).collect(),
            sealed,
        })
    }

    /// An administrator removes any member; a joining server only the one that never started.
    async fn remove(&self, context: &RequestContext, name: &str) -> Result<(), Status> {
        let members = self.store.members(true).await.map_err(|error| unavailable(&error))?;
        let is_meant = |member: &&Member| {
            !name.is_empty() && (member.name == name || member.peer_urls.iter().any(|url| url == name))
        };
        let Some(member) = members.iter().find(is_meant) else {
            let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
            return Err(Status::failure(
                404,
                "NotFound",
                format!("there is no server {name:?}: there are {}", names.join(", ")),
            ));
        };
        if !member.name.is_empty() {
            require_master(context)?;
        }
        self.store.member_remove(member.id).await.map_err(|error| refused(not_removed(name, &error)))?;
        info!(name, id = format!("{:016x}", member.id), "a server was removed");
        if let Err(error) = give_up(&self.store, &member.name, &member.peer_urls).await {
            warn!(
                error = format!("{error:#}"),
                name, "the name of a server that was removed is kept for a minute"
            );
        }
        Ok(())
    }
}

impl Endpoint for Desk {
    fn call(&self, context: RequestContext, request: Request) -> BoxFuture<'_, Result<Response, Status>> {
        Box::pin(self.answer(context, request))
    }
}

/// The member that this request made before, if it was interrupted.
fn check_name(
    context: &RequestContext,
    asked: &ServerRequest,
    members: &[Member],
) -> Result<Option<u64>, Status> {
    if let Some(why) = taken(asked, members) {
        return Err(refused(why));
    }
    if let Some(held) = members.iter().find(|member| member.peer_urls.contains(&asked.peer_url)) {
        if held.name.is_empty() {
            return Ok(Some(held.id)); // added, and never started
        }
        return Err(refused(format!(
            "{} is the address of server {}: start that with its own data directory, or remove it first with \
             `mainstay server remove {}`",
            asked.peer_url, held.name, held.name
        )));
    }
    if let Some(waiting) = members.iter().find(|member| member.name.is_empty()) {
        let urls = waiting.peer_urls.join(",");
        return Err(busy(format!(
            "another server, at {urls}, is joining: try again when it has started, or remove it with `mainstay server remove {urls}`"
        )));
    }
    if node_is_alive(context, &asked.name, SystemClock.wall()) {
        return Err(refused(format!(
            "the name {} is taken by a live node: choose another --node-name",
            asked.name
        )));
    }
    Ok(None)
}

/// Why a name is another server's.
fn taken(asked: &ServerRequest, members: &[Member]) -> Option<String> {
    let held = members.iter().find(|member| member.name == asked.name)?;
    let urls = held.peer_urls.join(",");
    Some(format!(
        "the name {} is taken by the server at {urls}: choose another --node-name; or, if that machine is lost, \
         remove it first with `mainstay server remove {}`",
        asked.name, asked.name
    ))
}

fn being_taken(name: &str, url: &str) -> String {
    format!(
        "the name {name} is being taken by the server at {url}, which joins at this time: choose another --node-name; or, if that join was \
         given up, try again in a minute"
    )
}

fn refused(why: String) -> Status {
    Status::failure(409, "Conflict", why)
}

/// Refused for now: one server joins after the other, and each waits for the one before.
fn busy(why: String) -> Status {
    Status::failure(409, ANOTHER_JOINS, why)
}

fn unavailable(error: &ClusterError) -> Status {
    Status::service_unavailable(format!("the members of the store cannot be read: {error}"))
}

fn not_added(error: &ClusterError) -> String {
    match error {
        ClusterError::NotEnoughStarted => {
            "another server has been added and has not started yet: try again when it has".to_owned()
        }
        ClusterError::Unhealthy => {
            "too few of the servers answer: bring those back, or remove those that are lost with `mainstay server remove NAME`, before another one joins".to_owned()
        }
        other => format!("the server was not added: {other}"),
    }
}

fn not_removed(name: &str, error: &ClusterError) -> String {
    match error {
        ClusterError::NotEnoughStarted | ClusterError::Unhealthy => {
            format!("without server {name} too few would be left to go on: bring others back first")
        }
        other => format!("server {name} was not removed: {other}"),
    }
}

/// Refuses whoever is no administrator.
pub(crate) fn require_master(context: &RequestContext) -> Result<(), Status> {
    if context.user().groups.iter().any(|group| group == MASTERS) {
        return Ok(());
    }
    Err(Status::failure(403, "Forbidden", "only an administrator (system:masters) may do this"))
}

/// The secret of the token that the caller showed.
fn token_secret(context: &RequestContext) -> Result<String, Status> {
    let no_token = || {
        Status::failure(403, "Forbidden", "a server joins with a token of `mainstay token create --server`")
    };
    let id = context.user().name.strip_prefix(BOOTSTRAP_USER).ok_or_else(no_token)?;
    let name = format!("bootstrap-token-{id}");
    let found = context.writer.registry().get(&SECRET, "kube-system", &name).ok_or_else(no_token)?;
    let secret = found.decode().map_err(|error| Status::internal(error.to_string()))?;
    let encoded = secret.path_str(&["data", "token-secret"]).ok_or_else(no_token)?;
    let bytes = STANDARD.decode(encoded).map_err(|error| Status::internal(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| Status::internal(error.to_string()))
}

fn node_is_alive(context: &RequestContext, name: &str, now: OffsetDateTime) -> bool {
    let registry = context.writer.registry();
    if name.is_empty() || registry.get(&NODE, "", name).is_none() {
        return false;
    }
    let lease = registry.get(&LEASE, "kube-node-lease", name).and_then(|cached| cached.decode().ok());
    let renewed = lease.as_ref().and_then(|lease| lease.path_str(&["spec", "renewTime"]));
    let renewed = renewed.and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    renewed.is_some_and(|renewed| now - renewed < NODE_ALIVE)
}

/// Whether the peer port of a joining server can be reached from here.
async fn dial(peer_url: &str) -> Result<(), Status> {
    let address: SocketAddr = peer_url
        .strip_prefix("https://")
        .and_then(|rest| rest.parse().ok())
        .ok_or_else(|| Status::bad_request(format!("{peer_url:?} is not https://IP:PORT")))?;
    let blocked = |why: String| {
        refused(format!(
            "{address} cannot be reached from this server ({why}): open that port between the servers"
        ))
    };
    match tokio::time::timeout(DIAL_MAX, TcpStream::connect(address)).await {
        Ok(Ok(_stream)) => Ok(()),
        Ok(Err(error)) => Err(blocked(error.to_string())),
        Err(_elapsed) => Err(blocked("no answer".to_owned())),
    }
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// An answer in JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<Response, Status> {
    let body = serde_json::to_vec(value).map_err(|error| Status::internal(error.to_string()))?;
    let mut response = Response::new(full_body(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
