//! Puts the gates and the special endpoints together, and starts what keeps them going.

use std::net::SocketAddr;
use std::sync::Arc;

use mainstay_apiserver_kinds::{
    LOCAL_SUBJECT_ACCESS_REVIEW, SELF_SUBJECT_ACCESS_REVIEW, SUBJECT_ACCESS_REVIEW, by_gvr,
};
use mainstay_base::lifecycle::{Clock, Tasks};
use mainstay_proto_api::Status;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::extension_trust::ExtensionTrust;
use super::flow_objects::FlowObjects;
use super::kubernetes_service::KubernetesService;
use super::policy::{default_policy, node_rules};
use super::policy_text::PolicyTextError;
use super::policy_types;
use super::presence::{Presence, PresenceError};
use super::rbac::reconcile;
use super::seed::Seeder;
use crate::admission::certificates::Certificates;
use crate::admission::chain::Named;
use crate::admission::claim_resize::ClaimResize;
use crate::admission::declared_features::DeclaredFeatures;
use crate::admission::default_class::DefaultClass;
use crate::admission::default_tolerations::DefaultTolerations;
use crate::admission::limit_ranger::LimitRanger;
use crate::admission::namespace_lifecycle::NamespaceLifecycle;
use crate::admission::node_restriction::NodeRestriction;
use crate::admission::node_taint::NodeTaint;
use crate::admission::pod_resize::PodResize;
use crate::admission::pod_security::PodSecurity;
use crate::admission::policy::{MutatingPolicies, PolicyRights, ValidatingPolicies};
use crate::admission::priority::Priority;
use crate::admission::rbac_escalation::RbacEscalation;
use crate::admission::resource_quota::ResourceQuota;
use crate::admission::runtime_class::RuntimeClass;
use crate::admission::service_account::ServiceAccountStep;
use crate::admission::signing_requests::SigningRequests;
use crate::admission::storage_protection::StorageProtection;
use crate::admission::topology_labels::TopologyLabels;
use crate::admission::webhook::{MutatingWebhooks, ValidatingWebhooks};
use crate::admission::{Chain, Step};
use crate::aggregation::{AGGREGATOR, Availability, FrontDoor};
use crate::authn::anonymous::Anonymous;
use crate::authn::certificate::{CertificateAuthenticator, VerifierError};
use crate::authn::discovery::{CONFIGURATION_PATH, IssuerDocument, JWKS_PATH};
use crate::authn::front_proxy::FrontProxy;
use crate::authn::jwt::JwtAuthenticator;
use crate::authn::service_account::CachedObjects;
use crate::authn::token::KeyError;
use crate::authn::webhook_token::WebhookTokens;
use crate::authn::{Authenticator, AuthenticatorConfig, SigningKeys, TokenIssuer};
use crate::authz::aggregator::Aggregator;
use crate::authz::feed::PolicyFeed;
use crate::authz::node::NodeAuthorizer;
use crate::authz::reload::Reload;
use crate::authz::webhook::{
    AuthorizationConfig, AuthorizationMetrics, Mode, WebhookAuthorizer, WebhookConfig,
};
use crate::authz::{Authorizer, Link};
use crate::callout::Caller;
use crate::config::ServerConfig;
use crate::extensions::{CustomKinds, WebhookConverter};
use crate::handlers::Writer;
use crate::outbound;
use crate::registry::Registry;
use crate::reviews::{AccessReview, RulesReview, SelfSubjectReview, TokenReview};
use crate::services::release::ClaimRelease;
use crate::services::{AllocatorConfig, Claim, ClaimsError, PoolError, ServiceAllocator};
use crate::stream::{self, BackendError, Streams};
use crate::subresources::{PodBinding, PodEviction, TokenRequests};
use crate::types::{Admit, Assembly, Authorize, Endpoint, EndpointKey};

/// Passes over aggregated roles at start: edit takes from view, admin from edit, and some room.
const AGGREGATION_PASSES: usize = 4;

/// A configuration that the gates cannot be made of.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// The verifier of client certificates.
    #[error("preparing client certificates")]
    Verifier(#[from] VerifierError),
    /// A service account key.
    #[error("preparing service account tokens")]
    Keys(#[from] KeyError),
    /// The default policy's text.
    #[error("reading the default policy")]
    Policy(#[from] PolicyTextError),
    /// The Service ranges.
    #[error("preparing service addresses")]
    Range(#[from] PoolError),
    /// The way to node agents.
    #[error("preparing the connection to node agents")]
    Backend(#[from] BackendError),
    /// The steps that ask webhooks.
    #[error("preparing admission webhooks: {0}")]
    Webhooks(String),
}

/// A start that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The list of servers.
    #[error(transparent)]
    Presence(#[from] PresenceError),
    /// The claims of Services.
    #[error("repairing the claims of services")]
    Claims(#[from] ClaimsError),
    /// The default policy's text.
    #[error("reading the default policy")]
    Policy(#[from] PolicyTextError),
    /// A write that was refused.
    #[error("creating the objects that every cluster starts with: {0}")]
    Refused(String),
}

impl From<Status> for SeedError {
    fn from(status: Status) -> Self {
        Self::Refused(status.message)
    }
}

/// What [`Gates::seed`] found and [`Gates::spawn`] goes on with.
pub struct Seeded {
    feed: PolicyFeed,
    presence: Presence,
    unclaimed: Vec<Claim>,
}

/// What stands behind the assembly and has loops of its own.
pub struct Gates {
    authorizer: Authorizer,
    reload: Option<Reload>,
    allocator: Arc<ServiceAllocator>,
    seeder: Seeder,
    documents: Arc<IssuerDocument>,
    custom_kinds: CustomKinds,
    availability: Availability,
    trust: ExtensionTrust,
    clock: Arc<dyn Clock>,
    plugins: Vec<&'static str>,
}

/// Makes the gates and endpoints over `registry`. Nothing is read or written yet.
///
/// # Errors
/// [`AssembleError`].
pub fn assemble(
    config: &ServerConfig,
    registry: &Registry,
    tasks: &Tasks,
) -> Result<(Assembly, Gates), AssembleError> {
    let (authorizer, reload) = authorizer(config, registry, tasks)?;
    let tokens = Arc::new(issuer(config)?);
    let authenticator = Arc::new(authenticator(config, registry, &tokens, tasks)?);
    let allocator = Arc::new(ServiceAllocator::new(AllocatorConfig {
        registry: registry.clone(),
        cidr: config.service_cidr,
        node_ports: config.node_ports.clone(),
        randomness: Arc::clone(&config.randomness),
    })?);
    let caller = Caller::new(registry.clone(), tasks.clone());
    let converter = WebhookConverter::new(caller.clone(), Arc::clone(&config.randomness));
    registry.set_converter(Arc::new(converter));
    let mut steps = in_tree(config, registry, &authorizer);
    let asked: Arc<dyn Authorize> = Arc::new(authorizer.clone());
    steps.extend(webhooks(config, registry, caller, &asked)?);
    let quota = ResourceQuota::new(registry.clone(), mainstay_apiserver_kinds::all());
    steps.push((&["ResourceQuota"], Arc::new(quota)));
    // Upstream has these four in the storage layer, after admission.
    steps.push((&["signing requests"], Arc::new(SigningRequests::new(Arc::clone(&config.clock)))));
    steps.push((&["RBAC escalation"], Arc::new(RbacEscalation::new(registry.clone(), authorizer.clone()))));
    steps.push((&["policy rights"], Arc::new(PolicyRights::new(registry.clone(), Arc::clone(&asked)))));
    steps.push((&["service addresses"], Arc::clone(&allocator) as Arc<dyn Step>));
    let chain = Chain::new(steps);
    let plugins = chain.names().to_vec();
    let admission: Arc<dyn Admit> = Arc::new(chain);
    let writer = Writer::new(
        registry.clone(),
        Arc::clone(&admission),
        Arc::clone(&config.clock),
        Arc::clone(&config.randomness),
    );
    let documents = Arc::new(IssuerDocument::new(Arc::clone(&tokens)));
    let parts = Parts { config, registry, authorizer: &authorizer, admission: &admission, writer: &writer };
    let mut endpoints = reviews(&parts, &authenticator);
    endpoints.extend(subresources(&parts, &tokens));
    endpoints.extend(stream::endpoints(&Streams::new(
        config,
        registry,
        Arc::new(authorizer.clone()),
        tasks.clone(),
    )?));
    let door = FrontDoor::new(config, registry, tasks.clone())?;
    endpoints.push((EndpointKey::new(AGGREGATOR, "", ""), Arc::new(door.clone())));
    for path in [CONFIGURATION_PATH, JWKS_PATH] {
        endpoints.push((EndpointKey::new("", path, ""), Arc::clone(&documents) as Arc<dyn Endpoint>));
    }
    let assembly = Assembly { authenticator, authorizer: Arc::new(authorizer.clone()), admission, endpoints };
    let seeder = Seeder::new(writer);
    let custom_kinds = CustomKinds::new(seeder.clone(), Arc::clone(&config.clock));
    let availability = Availability::new(seeder.clone(), &door, Arc::clone(&config.clock));
    let trust = ExtensionTrust::of(config);
    let clock = Arc::clone(&config.clock);
    let gates = Gates {
        authorizer,
        reload,
        allocator,
        seeder,
        documents,
        custom_kinds,
        availability,
        trust,
        clock,
        plugins,
    };
    Ok((assembly, gates))
}

impl Gates {
    /// The steps of admission by upstream's names, in the order in which they run; after them those of our own.
    pub fn admission_plugins(&self) -> &[&'static str] {
        &self.plugins
    }

    /// Brings the cluster's own objects up to date and loads the policy. Comes after the cache is loaded and before
    /// the first request; `server` is where this server is reached. Several servers may do this at one time.
    ///
    /// # Errors
    /// [`SeedError`].
    pub async fn seed(&mut self, server: SocketAddr) -> Result<Seeded, SeedError> {
        self.documents.set_server(server);
        let presence = Presence::announce(self.seeder.registry().store(), server).await?;
        let unclaimed = self.allocator.repair(presence.is_alone()).await?;
        self.seeder.namespaces().await?;
        reconcile(&self.seeder, default_policy()?).await?;
        self.aggregate().await?;
        self.seeder.priority_classes().await?;
        self.flow_objects().ensure().await?;
        self.kubernetes(server, &presence).create(&self.seeder).await?;
        self.trust.publish(&self.seeder).await?;
        self.seeder.registry().fresh().await?;
        self.custom_kinds.load().await?;
        let feed = PolicyFeed::load(self.seeder.registry().clone(), self.authorizer.clone())?;
        Ok(Seeded { feed, presence, unclaimed })
    }

    /// In place of [`Gates::seed`] and [`Gates::spawn`] where nothing can be written: what is stored decides who may do what and
    /// which custom kinds there are, and no object is made or kept.
    ///
    /// # Errors
    /// [`SeedError`].
    pub async fn read_only(mut self, server: SocketAddr, tasks: &Tasks) -> Result<(), SeedError> {
        self.documents.set_server(server);
        self.custom_kinds.load().await?;
        let feed = PolicyFeed::load(self.seeder.registry().clone(), self.authorizer.clone())?;
        tasks.spawn("authz-policy", feed.run(tasks.token()));
        if let Some(reload) = self.reload.take() {
            tasks.spawn("authorization-config", reload.run(tasks.token()));
        }
        tasks.spawn("custom-resources", self.custom_kinds.run(tasks.token()));
        Ok(())
    }

    async fn aggregate(&self) -> Result<(), SeedError> {
        let aggregator = Aggregator::new(self.seeder.registry().clone());
        for _pass in 0..AGGREGATION_PASSES {
            self.seeder.registry().fresh().await?;
            if aggregator.reconcile().await? == 0 {
                break;
            }
        }
        Ok(())
    }

    fn flow_objects(&self) -> FlowObjects {
        FlowObjects::new(self.seeder.clone(), Arc::clone(&self.clock))
    }

    fn kubernetes(&self, server: SocketAddr, presence: &Presence) -> KubernetesService {
        KubernetesService { cluster_ip: self.allocator.first_address(), server, live: presence.live() }
    }

    /// Starts the loops; `seeded` comes from [`Gates::seed`].
    pub fn spawn(mut self, seeded: Seeded, server: SocketAddr, tasks: &Tasks) {
        let stop = tasks.token();
        let Seeded { feed, presence, unclaimed } = seeded;
        let kubernetes = self.kubernetes(server, &presence);
        tasks.spawn("presence", presence.run(stop.clone()));
        if !unclaimed.is_empty() {
            let (allocator, stop) = (Arc::clone(&self.allocator), stop.clone());
            tasks.spawn("unclaimed", async move { allocator.drop_unclaimed(unclaimed, stop).await });
        }
        tasks.spawn("authz-policy", feed.run(stop.clone()));
        if let Some(reload) = self.reload.take() {
            tasks.spawn("authorization-config", reload.run(stop.clone()));
        }
        tasks.spawn("service-claims", ClaimRelease::new(Arc::clone(&self.allocator)).run(stop.clone()));
        tasks.spawn(
            "system-namespaces",
            logged(stop.clone(), self.seeder.clone().keep_namespaces(stop.clone())),
        );
        tasks.spawn("flow-objects", logged(stop.clone(), self.flow_objects().keep(stop.clone())));
        tasks.spawn(
            "policy-types",
            logged(stop.clone(), policy_types::keep(self.seeder.clone(), stop.clone())),
        );
        tasks.spawn("custom-resources", self.custom_kinds.run(stop.clone()));
        tasks.spawn("api-services", logged(stop.clone(), self.availability.run(stop.clone())));
        let trust = self.trust.keep(self.seeder.clone(), stop.clone());
        tasks.spawn("extension-trust", logged(stop.clone(), trust));
        tasks.spawn("kubernetes-service", logged(stop.clone(), kubernetes.keep(self.seeder, stop)));
    }
}

/// A refusal as an error that tasks can report. Without a quorum a write waits: the end of the server does not.
async fn logged(
    stop: CancellationToken,
    run: impl Future<Output = Result<(), Status>>,
) -> Result<(), SeedError> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Ok(()),
        ended = run => Ok(ended?),
    }
}

/// What most endpoints share.
struct Parts<'a> {
    config: &'a ServerConfig,
    registry: &'a Registry,
    authorizer: &'a Authorizer,
    admission: &'a Arc<dyn Admit>,
    writer: &'a Writer,
}

type Endpoints = Vec<(EndpointKey, Arc<dyn Endpoint>)>;

fn reviews(parts: &Parts<'_>, authenticator: &Arc<Authenticator>) -> Endpoints {
    const AUTHORIZATION: &str = "authorization.k8s.io";
    const AUTHENTICATION: &str = "authentication.k8s.io";
    let body_bytes_max = parts.config.limits.body_bytes_max;
    let authorizer: Arc<dyn Authorize> = Arc::new(parts.authorizer.clone());
    let mut endpoints: Endpoints = Vec::new();
    for (kind, about_self) in [
        (&SUBJECT_ACCESS_REVIEW, false),
        (&LOCAL_SUBJECT_ACCESS_REVIEW, false),
        (&SELF_SUBJECT_ACCESS_REVIEW, true),
    ] {
        let review = AccessReview { kind, about_self, authorizer: Arc::clone(&authorizer), body_bytes_max };
        endpoints.push((EndpointKey::new(AUTHORIZATION, kind.plural, ""), Arc::new(review)));
    }
    let rules = RulesReview { authorizer: parts.authorizer.clone(), body_bytes_max };
    endpoints.push((EndpointKey::new(AUTHORIZATION, "selfsubjectrulesreviews", ""), Arc::new(rules)));
    let subject = SelfSubjectReview { clock: Arc::clone(&parts.config.clock), body_bytes_max };
    endpoints.push((EndpointKey::new(AUTHENTICATION, "selfsubjectreviews", ""), Arc::new(subject)));
    let token = TokenReview { authenticator: Arc::clone(authenticator), body_bytes_max };
    endpoints.push((EndpointKey::new(AUTHENTICATION, "tokenreviews", ""), Arc::new(token)));
    endpoints
}

fn subresources(parts: &Parts<'_>, tokens: &Arc<TokenIssuer>) -> Endpoints {
    let config = parts.config;
    let body_bytes_max = config.limits.body_bytes_max;
    let binding = Arc::new(PodBinding {
        registry: parts.registry.clone(),
        admission: Arc::clone(parts.admission),
        clock: Arc::clone(&config.clock),
        body_bytes_max,
    });
    let eviction = PodEviction {
        writer: parts.writer.clone(),
        admission: Arc::clone(parts.admission),
        clock: Arc::clone(&config.clock),
        body_bytes_max,
    };
    let expiration_max = config.service_account.expiration_max.as_secs();
    let token = TokenRequests {
        registry: parts.registry.clone(),
        tokens: Arc::clone(tokens),
        admission: Arc::clone(parts.admission),
        clock: Arc::clone(&config.clock),
        randomness: Arc::clone(&config.randomness),
        expiration_seconds_max: i64::try_from(expiration_max).unwrap_or(i64::MAX),
        body_bytes_max,
    };
    vec![
        (EndpointKey::new("", "pods", "binding"), Arc::clone(&binding) as Arc<dyn Endpoint>),
        (EndpointKey::new("", "bindings", ""), binding),
        (EndpointKey::new("", "pods", "eviction"), Arc::new(eviction)),
        (EndpointKey::new("", "serviceaccounts", "token"), Arc::new(token)),
    ]
}

/// The plugins that are about certificates.
const CERTIFICATES: &[&str] = &[
    "CertificateApproval",
    "CertificateSigning",
    "ClusterTrustBundleAttest",
    "CertificateSubjectRestriction",
];

/// The steps of the server's own.
fn in_tree(config: &ServerConfig, registry: &Registry, authorizer: &Authorizer) -> Vec<Named> {
    let pod_security = PodSecurity::new(registry.clone(), config.admission.pod_security.clone());
    let service_account = ServiceAccountStep::new(registry.clone(), Arc::clone(&config.randomness));
    vec![
        (&["NamespaceLifecycle"], Arc::new(NamespaceLifecycle::new(registry.clone()))),
        (&["LimitRanger"], Arc::new(LimitRanger::new(registry.clone()))),
        (&["ServiceAccount"], Arc::new(service_account)),
        (&["NodeRestriction"], Arc::new(NodeRestriction::new(registry.clone()))),
        (&["TaintNodesByCondition"], Arc::new(NodeTaint)),
        (&["PodSecurity"], Arc::new(pod_security)),
        (&["Priority"], Arc::new(Priority::new(registry.clone()))),
        (&["DefaultTolerationSeconds"], Arc::new(DefaultTolerations)),
        (&["DefaultStorageClass", "DefaultIngressClass"], Arc::new(DefaultClass::new(registry.clone()))),
        (&["StorageObjectInUseProtection"], Arc::new(StorageProtection)),
        (&["PersistentVolumeClaimResize"], Arc::new(ClaimResize::new(registry.clone()))),
        (&["RuntimeClass"], Arc::new(RuntimeClass::new(registry.clone()))),
        (CERTIFICATES, Arc::new(Certificates::new(Arc::new(authorizer.clone())))),
        (&["PodTopologyLabels"], Arc::new(TopologyLabels::new(registry.clone()))),
        (&["NodeDeclaredFeatureValidator"], Arc::new(DeclaredFeatures::new(registry.clone()))),
        (&["PodResizeValidator"], Arc::new(PodResize::new(registry.clone()))),
    ]
}

/// The steps of policies and webhooks, where their configurations are served.
fn webhooks(
    config: &ServerConfig,
    registry: &Registry,
    caller: Caller,
    authorizer: &Arc<dyn Authorize>,
) -> Result<Vec<Named>, AssembleError> {
    let failed = |status: Status| AssembleError::Webhooks(status.message);
    let configurations = |plural| by_gvr("admissionregistration.k8s.io", "v1", plural);
    let mut steps: Vec<Named> = Vec::new();
    if let (Some(policies), Some(bindings)) =
        (configurations("mutatingadmissionpolicies"), configurations("mutatingadmissionpolicybindings"))
    {
        let step = MutatingPolicies::new(registry, policies, bindings, Arc::clone(authorizer));
        steps.push((&["MutatingAdmissionPolicy"], Arc::new(step.map_err(failed)?)));
    }
    if let Some(kind) = configurations("mutatingwebhookconfigurations") {
        let with = (Arc::clone(&config.randomness), Arc::clone(authorizer));
        let step = MutatingWebhooks::new(registry, kind, caller.clone(), with);
        steps.push((&["MutatingAdmissionWebhook"], Arc::new(step.map_err(failed)?)));
    }
    if let (Some(policies), Some(bindings)) =
        (configurations("validatingadmissionpolicies"), configurations("validatingadmissionpolicybindings"))
    {
        let step = ValidatingPolicies::new(registry, policies, bindings, Arc::clone(authorizer));
        steps.push((&["ValidatingAdmissionPolicy"], Arc::new(step.map_err(failed)?)));
    }
    if let Some(kind) = configurations("validatingwebhookconfigurations") {
        let with = (Arc::clone(&config.randomness), Arc::clone(authorizer));
        let step = ValidatingWebhooks::new(registry, kind, caller, with);
        steps.push((&["ValidatingAdmissionWebhook"], Arc::new(step.map_err(failed)?)));
    }
    Ok(steps)
}

fn issuer(config: &ServerConfig) -> Result<TokenIssuer, AssembleError> {
    let keys = &config.service_account;
    let older: Vec<&[u8]> = keys.verification_keys_pem.iter().map(Vec::as_slice).collect();
    let audiences =
        if keys.audiences.is_empty() { vec![keys.issuer.clone()] } else { keys.audiences.clone() };
    Ok(TokenIssuer {
        issuers: vec![keys.issuer.clone()],
        audiences,
        keys: SigningKeys::new(&keys.signing_key_pem, &older)?,
    })
}

/// The authorizer, and what follows the file that says of whom it is made.
fn authorizer(
    config: &ServerConfig,
    registry: &Registry,
    tasks: &Tasks,
) -> Result<(Authorizer, Option<Reload>), AssembleError> {
    let failed = |error: prometheus::Error| AssembleError::Webhooks(error.to_string());
    let chosen = &config.authorization;
    let asks_webhook = chosen.modes.iter().any(|mode| matches!(mode, Mode::Webhook(_)));
    let metrics = (asks_webhook || chosen.file.is_some())
        .then(|| AuthorizationMetrics::register(&config.metrics))
        .transpose()
        .map_err(failed)?;
    let node = NodeAuthorizer::new(registry.clone(), node_rules()?);
    let (tasks, clock) = (tasks.clone(), Arc::clone(&config.clock));
    let make = move |modes: &AuthorizationConfig| -> Result<Vec<Link>, String> {
        let link = |mode: &Mode| match (mode, &metrics) {
            (Mode::AlwaysAllow, _) => Ok(Link::AlwaysAllow),
            (Mode::AlwaysDeny, _) => Ok(Link::AlwaysDeny),
            (Mode::Node, _) => Ok(Link::Node(node.clone())),
            (Mode::Rbac, _) => Ok(Link::Rbac),
            (Mode::Webhook(webhook), Some(metrics)) => {
                let caller = outbound::Caller::new(webhook.remote.clone(), tasks.clone());
                let (webhook, clock) = (WebhookConfig::clone(webhook), Arc::clone(&clock));
                Ok(Link::Webhook(Arc::new(WebhookAuthorizer::new(webhook, caller, clock, metrics.clone()))))
            }
            (Mode::Webhook(_), None) => Err("the metrics of webhooks are not registered".to_owned()),
        };
        modes.modes.iter().map(link).collect()
    };
    let authorizer = Authorizer::new(make(chosen).map_err(AssembleError::Webhooks)?);
    let reload = chosen.file.as_ref().map(|file| {
        let server = config.advertise.to_string();
        let follows = (authorizer.clone(), Box::new(make) as Box<_>);
        Reload::new((file, chosen), follows, (&config.metrics, &server), Arc::clone(&config.clock))
    });
    Ok((authorizer, reload.transpose().map_err(failed)?))
}

fn authenticator(
    config: &ServerConfig,
    registry: &Registry,
    tokens: &Arc<TokenIssuer>,
    tasks: &Tasks,
) -> Result<Authenticator, AssembleError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let signed_below = |authorities| CertificateAuthenticator::new(authorities, Arc::clone(&provider));
    let certificates = signed_below(config.client_ca_pem.clone())?;
    let settings = &config.authentication;
    let front_proxy = match &settings.front_proxy {
        Some(proxy) => {
            let authorities = String::from_utf8_lossy(&proxy.ca_pem).into_owned();
            Some(FrontProxy::new(signed_below(watch::channel(authorities).1)?, proxy.clone()))
        }
        None => None,
    };
    let webhook = settings.webhook.clone();
    let webhook = webhook
        .map(|(remote, lifetime)| WebhookTokens::new(outbound::Caller::new(remote, tasks.clone()), lifetime));
    let anonymous = if config.anonymous { Anonymous::Enabled } else { Anonymous::Disabled };
    Ok(Authenticator::new(AuthenticatorConfig {
        certificates,
        tokens: Arc::clone(tokens),
        live: Arc::new(CachedObjects::new(registry.clone())),
        front_proxy,
        static_tokens: settings.static_tokens.clone(),
        bootstrap: settings.bootstrap_tokens.then(|| registry.clone()),
        jwt: JwtAuthenticator::all(&settings.configuration, tasks, &config.clock),
        webhook,
        anonymous: settings.configuration.anonymous.clone().unwrap_or(anonymous),
        clock: Arc::clone(&config.clock),
    }))
}
