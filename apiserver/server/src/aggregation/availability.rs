//! [`Availability`]: the loop over APIServices. It asks extension servers whether they answer, writes the condition
//! `Available`, and keeps the routes and the APIServices of this server's own groups.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use mainstay_apiserver_kinds::{API_SERVICE, ENDPOINT_SLICE, SERVICE};
use mainstay_apiserver_machinery::json;
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::pipeline::deletion::DeleteOptions;
use mainstay_apiserver_machinery::pipeline::timestamp;
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;
use mainstay_base::lifecycle::Clock;
use mainstay_proto_api::Status;
use smol_str::SmolStr;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::client::Client;
use super::headers::set_user;
use super::local;
use super::proxy::FrontDoor;
use super::remote::Remote;
use super::routes::{OpenApiPart, RemoteVersion, Routes};
use crate::authn::user::MASTERS;
use crate::bootstrap::seed::Seeder;
use crate::types::{UserInfo, empty_body};

/// Time between two looks when nothing changes.
const INTERVAL: Duration = Duration::from_secs(30);
/// How long a server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer to a question about discovery.
const ANSWER_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Whether a server answers, and what is said of it.
struct Condition {
    is_available: bool,
    reason: &'static str,
    message: String,
}

/// What a look at one server found.
struct Found {
    condition: Condition,
    resources: Value,
    openapi: Value,
    /// None where it is not known anew: what there was stays.
    openapi_v2: Option<Arc<OpenApiPart>>,
}

/// What a server answered.
struct Answer {
    body: Bytes,
    /// Empty without one.
    etag: String,
}

/// The loop's state.
pub struct Availability {
    seeder: Seeder,
    client: Client,
    routes: Routes,
    clock: Arc<dyn Clock>,
}

impl Availability {
    /// A loop that keeps the routes of `door`.
    pub fn new(seeder: Seeder, door: &FrontDoor, clock: Arc<dyn Clock>) -> Self {
        Self { seeder, client: door.client.clone(), routes: door.routes.clone(), clock }
    }

    /// Runs until `stop`.
    ///
    /// # Errors
    /// APIServices that are not stored.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Status> {
        let registry = self.seeder.registry().clone();
        let mut changes = [
            registry.changes(&API_SERVICE)?,
            registry.changes(&SERVICE)?,
            registry.changes(&ENDPOINT_SLICE)?,
        ];
        let mut served = registry.served().changes();
        loop {
            for change in &mut changes {
                change.borrow_and_update();
            }
            served.borrow_and_update();
            let has_remotes = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                has_remotes = self.round() => has_remotes,
            };
            let [services, others @ ..] = &mut changes;
            let [one, two] = others;
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                end = services.changed() => if end.is_err() { return Ok(()) },
                end = served.changed() => if end.is_err() { return Ok(()) },
                // Services and endpoints matter only where some server stands behind them.
                end = one.changed(), if has_remotes => if end.is_err() { return Ok(()) },
                end = two.changed(), if has_remotes => if end.is_err() { return Ok(()) },
                () = tokio::time::sleep(INTERVAL), if has_remotes => {}
            }
        }
    }

    /// Looks at everything once; whether there are other servers, or may be.
    async fn round(&self) -> bool {
        if let Err(error) = self.keep_local().await {
            warn!(error = %error.message, "the API services of this server are not kept");
        }
        match self.look().await {
            Ok(has_remotes) => has_remotes,
            Err(error) => {
                warn!(error = %error.message, "API services cannot be looked at");
                true
            }
        }
    }

    /// Brings the APIServices of this server's groups to what is served.
    async fn keep_local(&self) -> Result<(), Status> {
        let registry = self.seeder.registry();
        let wanted = local::wanted(registry.served().current().all());
        let missing = wanted.iter().filter(|(name, _)| registry.get(&API_SERVICE, "", name).is_none());
        // At once, so that the store can write them with one sync.
        let made = missing.map(|(_, object)| self.seeder.ensure(&API_SERVICE, object));
        futures::future::try_join_all(made).await?;
        for cached in registry.cache(&API_SERVICE)?.snapshot().iter() {
            let is_managed = cached.header.label(local::MANAGED).is_some();
            if is_managed && !wanted.contains_key(cached.header.name.as_str()) {
                let request = Seeder::request(&API_SERVICE, "", &cached.header.name);
                self.seeder.writer().delete(&request, &DeleteOptions::default()).await?;
            }
        }
        Ok(())
    }

    /// Looks at every server; whether there is any.
    async fn look(&self) -> Result<bool, Status> {
        let registry = self.seeder.registry();
        let before = self.routes.current();
        let (mut versions, mut conditions) = (Vec::new(), Vec::new());
        for cached in registry.cache(&API_SERVICE)?.snapshot().iter() {
            let object = registry.decode_served(&API_SERVICE, cached)?;
            let remote = match Remote::read(&object) {
                Ok(Some(remote)) => Arc::new(remote),
                Ok(None) => continue,
                Err(why) => {
                    warn!(api_service = %cached.header.name, %why, "an API service cannot be read");
                    continue;
                }
            };
            let known = before.versions.iter().find(|one| one.remote.name == remote.name);
            let found = self.find(&remote, known.and_then(|known| known.openapi_v2.as_deref())).await;
            let kept = |new: Value, old: fn(&RemoteVersion) -> &Value| match known {
                // What an unavailable server had is still shown, as stale.
                Some(known) if new.is_null() => old(known).clone(),
                _ => new,
            };
            versions.push(Arc::new(RemoteVersion {
                group: remote.group,
                version: remote.version,
                is_available: found.condition.is_available,
                resources: kept(found.resources, |known| &known.resources),
                openapi: kept(found.openapi, |known| &known.openapi),
                openapi_v2: found.openapi_v2.or_else(|| known.and_then(|known| known.openapi_v2.clone())),
                remote: Arc::clone(&remote),
            }));
            conditions.push((remote, found.condition));
        }
        versions.sort_by_key(|version| std::cmp::Reverse(version.remote.priority));
        let is_same = versions.len() == before.versions.len()
            && versions.iter().zip(&before.versions).all(|(one, other)| {
                one.remote == other.remote
                    && one.is_available == other.is_available
                    && one.resources == other.resources
                    && one.openapi == other.openapi
                    && one.openapi_v2 == other.openapi_v2
            });
        let has_remotes = !versions.is_empty();
        if !is_same {
            self.routes.set(versions);
        }
        // Only now: whoever reads the condition finds the route.
        for (remote, condition) in conditions {
            self.tell(&remote.name, &condition).await?;
        }
        Ok(has_remotes)
    }

    /// Asks a server for its resources, and for its OpenAPI index and document.
    async fn find(&self, remote: &Remote, known: Option<&OpenApiPart>) -> Found {
        let missing = |reason, message: String| Found {
            condition: Condition { is_available: false, reason, message },
            resources: Value::Null,
            openapi: Value::Null,
            openapi_v2: None,
        };
        let (namespace, service) = (&remote.namespace, &remote.service);
        if self.seeder.registry().get(&SERVICE, namespace, service).is_none() {
            let message = format!("service/{service} in {:?} is not present", namespace.as_str());
            return missing("ServiceNotFound", message);
        }
        let path = format!("/apis/{}/{}", remote.group, remote.version);
        let target = match self.client.target(remote) {
            Ok(target) => target,
            Err(why) if why.contains("no service port") => {
                let port = remote.port;
                let message =
                    format!("service/{service} in {:?} is not listening on port {port}", namespace.as_str());
                return missing("ServicePortError", message);
            }
            Err(_) => {
                let message = format!(
                    "endpoints for service/{service} in {:?} have no addresses with port {}",
                    namespace.as_str(),
                    remote.port
                );
                return missing("MissingEndpoints", message);
            }
        };
        let url = format!("https://{}{path}", target.authority());
        match self.ask(remote, &path).await {
            Ok(resources) => Found {
                condition: Condition {
                    is_available: true,
                    reason: "Passed",
                    message: "all checks passed".to_owned(),
                },
                resources,
                openapi: self.openapi(remote).await,
                openapi_v2: self.openapi_v2(remote, known).await,
            },
            Err(why) => {
                missing("FailedDiscoveryCheck", format!("failing or missing response from {url}: {why}"))
            }
        }
    }

    async fn openapi(&self, remote: &Remote) -> Value {
        let index = self.ask(remote, "/openapi/v3").await.unwrap_or_default();
        let key = format!("apis/{}/{}", remote.group, remote.version);
        index.path(&["paths", &key]).cloned().unwrap_or_default()
    }

    /// Its part of the OpenAPI v2 document; none where it has none, or where nothing has changed.
    async fn openapi_v2(&self, remote: &Remote, known: Option<&OpenApiPart>) -> Option<Arc<OpenApiPart>> {
        let etag = known.map(|known| known.etag.as_str()).unwrap_or_default();
        let answer = self.within_time(self.exchange(remote, "/openapi/v2", etag)).await;
        let Answer { body, etag } = answer.ok().flatten()?;
        let prefix = format!("/apis/{}/{}/", remote.group, remote.version);
        OpenApiPart::newer(known, &body, etag, &prefix).map(Arc::new)
    }

    async fn ask(&self, remote: &Remote, path: &str) -> Result<Value, String> {
        let answer = self.within_time(self.exchange(remote, path, "")).await?;
        let answer = answer.ok_or_else(|| "it has not changed".to_owned())?;
        json::decode_free(&answer.body).map_err(|error| error.to_string())
    }

    async fn within_time<T>(&self, asked: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        let asked = tokio::time::timeout(TIMEOUT, asked).await;
        asked.unwrap_or_else(|_elapsed| Err("context deadline exceeded".to_owned()))
    }

    /// The answer to a GET; none if it is still the one of that tag.
    async fn exchange(&self, remote: &Remote, path: &str, etag: &str) -> Result<Option<Answer>, String> {
        let target = self.client.target(remote)?;
        let mut request = http::Request::get(path)
            .header(http::header::HOST, target.authority())
            .header(http::header::ACCEPT, "application/json");
        if !etag.is_empty() {
            request = request.header(http::header::IF_NONE_MATCH, etag);
        }
        let request = request.body(empty_body());
        let mut request = request.map_err(|error| error.to_string())?;
        set_user(request.headers_mut(), &UserInfo::new("system:kube-aggregator", [MASTERS]));
        let connected = self.client.connect(remote, &target).await;
        let mut sender = connected.map_err(|error| crate::failure::with_causes(&error))?;
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let code = answer.status().as_u16();
        if code == 304 && !etag.is_empty() {
            return Ok(None);
        }
        if !(200..300).contains(&code) {
            return Err(format!("bad status from https://{}{path}: {code}", target.authority()));
        }
        let etag = answer.headers().get(http::header::ETAG).and_then(|etag| etag.to_str().ok());
        let etag = etag.unwrap_or_default().to_owned();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        Ok(Some(Answer { body: body.map_err(|error| error.to_string())?.to_bytes(), etag }))
    }

    /// Writes the condition where it differs.
    async fn tell(&self, name: &SmolStr, found: &Condition) -> Result<(), Status> {
        let now = timestamp(self.clock.wall());
        let status = if found.is_available { "True" } else { "False" };
        let change = |mut object: Value| {
            let mut conditions = object.path_list(&["status", "conditions"]).to_vec();
            let is_available = |one: &Value| one.path_str(&["type"]) == Some("Available");
            let at = conditions.iter().position(is_available);
            let before = at.and_then(|at| conditions.get(at));
            let text = |field: &str| before.and_then(|one| one.path_str(&[field])).unwrap_or_default();
            if (text("status"), text("reason"), text("message")) == (status, found.reason, &found.message) {
                return Ok(None);
            }
            let since =
                if text("status") == status { text("lastTransitionTime").to_owned() } else { now.clone() };
            let condition = value!({"type": "Available", "status": status, "reason": found.reason,
                "message": found.message.as_str(), "lastTransitionTime": since});
            match at.and_then(|at| conditions.get_mut(at)) {
                Some(place) => *place = condition,
                None => conditions.push(condition),
            }
            object.set_path(&["status", "conditions"], conditions);
            info!(
                api_service = Meta(&object).name(),
                status,
                reason = found.reason,
                "an API service changed"
            );
            Ok(Some(object))
        };
        match self.seeder.registry().update_with(&API_SERVICE, "", name, change).await {
            Err(status) if status.reason != "NotFound" => Err(status),
            _ => Ok(()),
        }
    }
}
