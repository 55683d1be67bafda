//! Which service a request is for. Every gRPC service is registered here, once.
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use futures::future::BoxFuture;
use mainstay_base::telemetry::{MetricsError, trace};
use mainstay_proto_wire::etcd::{DESCRIPTORS, etcdserverpb as pb, v3electionpb, v3lockpb};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower_service::Service;

use super::auth::AuthService;
use super::cluster::ClusterService;
use super::election::ElectionService;
use super::face::Face;
use super::gateway::Gateway;
use super::grpc_metrics::GrpcMetrics;
use super::kv::KvRoutes;
use super::lease::LeaseService;
use super::lock::LockService;
use super::maintenance::MaintenanceService;
use super::metrics::Metrics;
use super::pages;
use super::refusal;
use super::traced;
use super::watch::WatchService;

pub(super) type Request = http::Request<Body>;
pub(super) type Response = http::Response<Body>;

/// What a message may have beyond the largest request: etcd's allowance.
const MESSAGE_OVERHEAD: usize = 512 << 10;

/// What a learner answers, and of ranges only those that are serializable: etcd's rule.
const LEARNER_METHODS: [&str; 3] =
    ["/etcdserverpb.KV/Range", "/etcdserverpb.Maintenance/Status", "/etcdserverpb.Maintenance/Snapshot"];

/// A registered service.
trait GrpcService: Send + Sync {
    fn answer(&self, request: Request) -> BoxFuture<'static, Response>;
}

impl<S> GrpcService for S
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + Sync,
    S::Future: Send + 'static,
{
    fn answer(&self, request: Request) -> BoxFuture<'static, Response> {
        // The services are always ready: they hold nothing but their state.
        let answer = Service::call(&mut self.clone(), request);
        Box::pin(async move {
            match answer.await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        })
    }
}

/// All services, by name.
#[derive(Default)]
struct Services(HashMap<&'static str, Box<dyn GrpcService>>);

impl Services {
    fn register<S: GrpcService + NamedService + 'static>(&mut self, service: S) {
        self.0.insert(S::NAME, Box::new(service));
    }
}

/// Finds the service of a request, or the page.
pub(crate) struct Router {
    pub(super) face: Arc<Face>,
    services: Services,
    gateway: Gateway,
    pub(super) metrics: Metrics,
    calls: GrpcMetrics,
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router").field("services", &self.services.0.keys()).finish_non_exhaustive()
    }
}

impl Router {
    /// # Errors
    /// A metric is registered already.
    pub(super) fn new(face: &Arc<Face>, metrics: Metrics) -> Result<Self, MetricsError> {
        let shared = || Arc::clone(face);
        let message_max = face.store.core().limits.request_bytes_max + MESSAGE_OVERHEAD;
        let mut services = Services::default();
        services.register(KvRoutes::new(shared(), message_max));
        services.register(pb::lease_server::LeaseServer::new(LeaseService { face: shared() }));
        services.register(pb::cluster_server::ClusterServer::new(ClusterService { face: shared() }));
        services
            .register(pb::maintenance_server::MaintenanceServer::new(MaintenanceService { face: shared() }));
        services.register(WatchService::new(shared(), message_max));
        services.register(pb::auth_server::AuthServer::new(AuthService { face: shared() }));
        services
            .register(v3electionpb::election_server::ElectionServer::new(ElectionService { face: shared() }));
        services.register(v3lockpb::lock_server::LockServer::new(LockService { face: shared() }));
        let (_reporter, health) = tonic_health::server::health_reporter();
        services.register(health);
        register_reflection(&mut services);
        let calls = GrpcMetrics::new(&metrics.registry, face.config.metrics_extensive)
            .map_err(MetricsError::Prometheus)?;
        Ok(Self { face: shared(), services, gateway: Gateway::new(message_max), metrics, calls })
    }

    /// Answers any request.
    pub(super) async fn answer(&self, request: Request) -> Response {
        if is_grpc(&request) {
            return self.grpc(request).await;
        }
        match Box::pin(self.gateway.answer(self, request)).await {
            Ok(response) => response,
            Err(request) => Box::pin(pages::answer(self, request)).await,
        }
    }

    /// Answers a gRPC request.
    pub(super) async fn grpc(&self, request: Request) -> Response {
        let path = request.uri().path();
        let service =
            path.strip_prefix('/').and_then(|path| path.split_once('/')).map(|(service, _)| service);
        let Some(service) = service.and_then(|service| self.services.0.get(service)) else {
            return Status::unimplemented(format!("{path} is not served here")).into_http();
        };
        // Health and reflection have no metrics: they are no part of etcd's API.
        let Some(mut call) = self.calls.start(path) else { return service.answer(request).await };
        if self.face.is_learner() && !LEARNER_METHODS.contains(&path) {
            return call.finish(Status::from(refusal::NOT_SUPPORTED_FOR_LEARNER).into_http());
        }
        let place = self.face.config.tracer.as_ref().and_then(|tracer| {
            call.span = traced::call(tracer, &request);
            call.span.place()
        });
        let answer = service.answer(request);
        let answer = match place {
            None => answer.await,
            Some(place) => Box::pin(trace::below(place, answer)).await,
        };
        call.finish(in_gos_words(answer))
    }
}

/// A message that is too large is refused with the code and the words of gRPC for Go, which clients look for.
fn in_gos_words(response: Response) -> Response {
    let Some(status) = Status::from_header_map(response.headers()) else { return response };
    let sizes = status.message().strip_prefix("Error, decoded message length too large: found ");
    let Some((found, max)) = sizes.and_then(|sizes| sizes.split_once(" bytes, the limit is: ")) else {
        return response;
    };
    let max = max.trim_end_matches(" bytes");
    Status::resource_exhausted(format!("grpc: received message larger than max ({found} vs. {max})"))
        .into_http()
}

/// The descriptions of all services, for tools such as grpcurl.
fn register_reflection(services: &mut Services) {
    let builder =
        || tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(DESCRIPTORS);
    match (builder().build_v1(), builder().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => {
            services.register(v1);
            services.register(v1alpha);
        }
        (Err(error), _) | (_, Err(error)) => tracing::error!(%error, "reflection is not served"),
    }
}

fn is_grpc(request: &Request) -> bool {
    request
        .headers()
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|content_type| content_type.as_bytes().starts_with(b"application/grpc"))
}
