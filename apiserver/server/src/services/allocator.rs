//! The admission step that gives Services their addresses and ports.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use mainstay_apiserver_kinds::SERVICE;
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::validation::{ErrorList, Path};
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::claims::{Claim, Claims, ClaimsError};
use super::pool::{AddressRange, Pool, PoolError, PortRange};
use super::spec;
use crate::admission::Step;
use crate::admission::step::Work;
use crate::config::Randomness;
use crate::registry::Registry;
use crate::types::{AdmissionRequest, Operation};

/// Proposals tried before the range counts as full; each failed one was taken by another server meanwhile.
const ATTEMPTS_MAX: usize = 64;
/// A request of another server that has claimed a value has stored its Service, or has failed, by then.
const REQUEST_MAX: Duration = Duration::from_secs(120);

/// What the allocator is made of.
pub struct AllocatorConfig {
    /// Where Services are read.
    pub registry: Registry,
    /// The range of cluster addresses.
    pub cidr: IpNet,
    /// The range of node ports.
    pub node_ports: RangeInclusive<u16>,
    /// Where proposals start.
    pub randomness: Arc<dyn Randomness>,
}

/// Allocates on create and update, gives back after a write ended.
pub struct ServiceAllocator {
    pub(super) registry: Registry,
    pub(super) services: &'static Kind,
    pub(super) claims: Claims,
    addresses: AddressRange,
    ports: PortRange,
    free: Mutex<Free>,
    randomness: Arc<dyn Randomness>,
}

struct Free {
    addresses: Pool,
    ports: Pool,
}

/// What one request has claimed so far, to be given back if it fails half-way.
struct Taken<'a> {
    owner: &'a str,
    claims: Vec<Claim>,
    dry_run: bool,
}

impl ServiceAllocator {
    /// An allocator; [`ServiceAllocator::repair`] comes before its first use.
    pub fn new(config: AllocatorConfig) -> Result<Self, PoolError> {
        let addresses = AddressRange::new(config.cidr)?;
        let ports = PortRange::new(config.node_ports);
        let free = Free { addresses: addresses.pool(), ports: ports.pool() };
        Ok(Self {
            claims: Claims::new(config.registry.store().clone()),
            registry: config.registry,
            services: &SERVICE,
            addresses,
            ports,
            free: Mutex::new(free),
            randomness: config.randomness,
        })
    }

    /// The first address of the range: that of the `kubernetes` Service.
    pub fn first_address(&self) -> IpAddr {
        self.addresses.address(0)
    }

    /// Makes the claims match the stored Services: missing ones are made, and those of no Service are dropped. Where this
    /// server is not alone, another may be between its claim and its Service: then those are returned, for
    /// [`ServiceAllocator::drop_unclaimed`].
    ///
    /// # Errors
    /// The store's.
    pub async fn repair(&self, is_alone: bool) -> Result<Vec<Claim>, ClaimsError> {
        let held = self.held();
        let claimed = self.claims.list().await?;
        let mut unclaimed = Vec::new();
        for claim in claimed {
            if is_alone && !held.contains_key(&claim) {
                self.claims.drop_claim(claim).await?;
                continue;
            }
            self.mark(claim, true);
            if !held.contains_key(&claim) {
                unclaimed.push(claim);
            }
        }
        for (claim, owner) in &held {
            if self.claims.take(*claim, owner).await? {
                self.mark(*claim, true);
            }
        }
        info!(
            held = held.len(),
            unclaimed = unclaimed.len(),
            "repaired the claims of service addresses and ports"
        );
        Ok(unclaimed)
    }

    /// Drops claims that [`ServiceAllocator::repair`] found without a Service, once every request that could have made them
    /// has ended, unless they have one by then. A claim that was given up and made again meanwhile is spared.
    ///
    /// # Errors
    /// The store's.
    pub async fn drop_unclaimed(
        &self,
        claims: Vec<Claim>,
        stop: CancellationToken,
    ) -> Result<(), ClaimsError> {
        let found_at = self.registry.progress().current().next();
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(REQUEST_MAX) => {}
        }
        if self.registry.fresh().await.is_err() {
            return Ok(()); // no quorum: they stay until the next start
        }
        let held = self.held();
        for claim in claims.into_iter().filter(|claim| !held.contains_key(claim)) {
            if self.claims.give_up_older(claim, found_at).await? {
                self.mark(claim, false);
            }
        }
        Ok(())
    }

    /// The claims of the stored Services, with their keys.
    fn held(&self) -> BTreeMap<Claim, String> {
        let mut held = BTreeMap::new();
        for cached in self.registry.snapshot(self.services).iter().flat_map(crate::cache::Snapshot::iter) {
            match cached.decode() {
                Ok(service) => {
                    held.extend(spec::claims(&service).into_iter().map(|claim| (claim, cached.header.key())));
                }
                Err(error) => error!(%error, "the claims of a service cannot be read"),
            }
        }
        held
    }

    pub(super) fn mark(&self, claim: Claim, taken: bool) {
        let mut free = self.free.lock();
        let (pool, number) = match claim {
            Claim::Address(address) => (&mut free.addresses, self.addresses.number(address)),
            Claim::NodePort(port) => (&mut free.ports, self.ports.number(port)),
        };
        match number {
            Some(number) if taken => pool.take(number),
            Some(number) => pool.give_back(number),
            None => {}
        }
    }

    async fn allocate(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        if let Some(old) = &request.old {
            spec::carry_over(&mut request.object, old);
        }
        let owner = owner_of(request);
        let held = request.old.as_ref().map(spec::claims).unwrap_or_default();
        let mut taken = Taken { owner: &owner, claims: Vec::new(), dry_run: request.dry_run };
        let result = self.fill(&mut request.object, &held, &mut taken).await;
        if result.is_err() {
            self.give_back(&taken).await;
        }
        result
    }

    async fn fill(&self, service: &mut Value, held: &[Claim], taken: &mut Taken<'_>) -> Result<(), Status> {
        if spec::needs_cluster_ip(service) {
            self.fill_families(service);
            if !spec::is_headless(service) {
                self.fill_address(service, held, taken).await?;
            }
        }
        if spec::needs_node_ports(service) {
            self.fill_node_ports(service, held, taken).await?;
        }
        if spec::needs_health_check_port(service) {
            if let Some(port) = spec::health_check_port(service) {
                let path = Path::new("spec").child("healthCheckNodePort");
                self.claim_port(service, &path, port, held, taken).await?;
            } else {
                let port = self.next_port(service, taken).await?;
                service.set_path(&["spec", "healthCheckNodePort"], i64::from(port));
            }
        }
        Ok(())
    }

    fn fill_families(&self, service: &mut Value) {
        let family = if self.addresses.cidr().addr().is_ipv4() { "IPv4" } else { "IPv6" };
        if service.path(&["spec", "ipFamilyPolicy"]).is_none() {
            service.set_path(&["spec", "ipFamilyPolicy"], "SingleStack");
        }
        if service.path_list(&["spec", "ipFamilies"]).is_empty() {
            service.set_path(&["spec", "ipFamilies"], vec![Value::from(family)]);
        }
        if spec::is_headless(service) && service.path_list(&["spec", "clusterIPs"]).is_empty() {
            service.set_path(&["spec", "clusterIPs"], vec![Value::from(spec::NONE)]);
        }
    }

    async fn fill_address(
        &self,
        service: &mut Value,
        held: &[Claim],
        taken: &mut Taken<'_>,
    ) -> Result<(), Status> {
        let named = spec::cluster_ip(service).to_owned();
        if named.is_empty() {
            let address = self.next_address(service, taken).await?;
            service.set_path(&["spec", "clusterIP"], address.to_string());
            service.set_path(&["spec", "clusterIPs"], vec![Value::from(address.to_string())]);
            return Ok(());
        }
        // Text that is no address is left to the kind's validation.
        let Ok(address) = named.parse::<IpAddr>() else { return Ok(()) };
        if service.path_list(&["spec", "clusterIPs"]).is_empty() {
            service.set_path(&["spec", "clusterIPs"], vec![Value::from(named)]);
        }
        let claim = Claim::Address(address);
        if held.contains(&claim) {
            return Ok(());
        }
        if self.addresses.number(address).is_none() {
            let range = self.addresses.cidr();
            let why = format!(
                "the provided IP ({address}) is not in the valid range. The range of valid IPs is {range}"
            );
            return Err(address_refused(service, address, &why));
        }
        if self.take(claim, taken).await? {
            return Ok(());
        }
        Err(address_refused(service, address, "provided IP is already allocated"))
    }

    async fn fill_node_ports(
        &self,
        service: &mut Value,
        held: &[Claim],
        taken: &mut Taken<'_>,
    ) -> Result<(), Status> {
        let named: Vec<Option<u16>> =
            service.path_list(&["spec", "ports"]).iter().map(spec::node_port).collect();
        // First those that are named: none of them may be given to a port that names none.
        for (at, port) in named.iter().enumerate() {
            if let Some(port) = *port {
                let path = Path::new("spec").child("ports").index(at).child("nodePort");
                self.claim_port(service, &path, port, held, taken).await?;
            }
        }
        for (at, port) in named.iter().enumerate() {
            if port.is_some() {
                continue;
            }
            let shared = shared_node_port(service, at);
            let port = match shared {
                Some(port) => port,
                None => self.next_port(service, taken).await?,
            };
            if let Some(entry) = spec::ports_mut(service).nth(at) {
                entry.set_path(&["nodePort"], i64::from(port));
            }
        }
        Ok(())
    }

    async fn claim_port(
        &self,
        service: &Value,
        path: &Path,
        port: u16,
        held: &[Claim],
        taken: &mut Taken<'_>,
    ) -> Result<(), Status> {
        let claim = Claim::NodePort(port);
        if held.contains(&claim) || taken.claims.contains(&claim) {
            return Ok(());
        }
        let refused = |why: &str| {
            let mut errors = ErrorList::new();
            errors.invalid(path, i64::from(port), why);
            invalid(errors, service)
        };
        if self.ports.number(port).is_none() {
            let why = format!(
                "provided port is not in the valid range. The range of valid ports is {}",
                self.ports
            );
            return Err(refused(&why));
        }
        if self.take(claim, taken).await? {
            Ok(())
        } else {
            Err(refused("provided port is already allocated"))
        }
    }

    async fn next_address(&self, service: &Value, taken: &mut Taken<'_>) -> Result<IpAddr, Status> {
        for _ in 0..ATTEMPTS_MAX {
            let start = self.random();
            let Some(number) = self.free.lock().addresses.propose(start) else { break };
            let address = self.addresses.address(number);
            if self.take(Claim::Address(address), taken).await? {
                return Ok(address);
            }
        }
        let name = Meta(service).name();
        Err(Status::internal(format!("failed to allocate a serviceIP for {name:?}: range is full")))
    }

    async fn next_port(&self, service: &Value, taken: &mut Taken<'_>) -> Result<u16, Status> {
        for _ in 0..ATTEMPTS_MAX {
            let start = self.random();
            let Some(number) = self.free.lock().ports.propose(start) else { break };
            let port = self.ports.port(number);
            if self.take(Claim::NodePort(port), taken).await? {
                return Ok(port);
            }
        }
        let name = Meta(service).name();
        Err(Status::internal(format!("failed to allocate a nodePort for {name:?}: range is full")))
    }

    /// Claims a value. A dry run only looks whether it is free.
    async fn take(&self, claim: Claim, taken: &mut Taken<'_>) -> Result<bool, Status> {
        if taken.dry_run {
            return Ok(self.is_free(claim));
        }
        let took = self.claims.take(claim, taken.owner).await.map_err(|error| internal(&error))?;
        self.mark(claim, true);
        if took {
            taken.claims.push(claim);
        }
        Ok(took)
    }

    fn is_free(&self, claim: Claim) -> bool {
        let free = self.free.lock();
        let free_in = |pool: &Pool, number: Option<u32>| number.is_some_and(|number| pool.is_free(number));
        match claim {
            Claim::Address(address) => free_in(&free.addresses, self.addresses.number(address)),
            Claim::NodePort(port) => free_in(&free.ports, self.ports.number(port)),
        }
    }

    async fn give_back(&self, taken: &Taken<'_>) {
        for claim in &taken.claims {
            match self.claims.give_up(*claim, taken.owner).await {
                Ok(true) => self.mark(*claim, false),
                Ok(false) => {}
                // The repair at the next start gives it back.
                Err(error) => error!(%error, ?claim, "a claim of a failed request stays"),
            }
        }
    }

    /// Gives up what the request's objects hold and the live Service does not.
    async fn settle(&self, request: &AdmissionRequest) {
        if request.dry_run {
            return;
        }
        let live = match self.registry.get_fresh(self.services, &request.namespace, &request.name).await {
            Ok(Some(cached)) => match cached.decode() {
                Ok(service) => spec::claims(&service),
                Err(error) => return error!(%error, "the claims of a service cannot be read"),
            },
            Ok(None) => Vec::new(),
            Err(status) => return error!(error = %status.message, "the claims of a service are not given up"),
        };
        let mut claims = spec::claims(&request.object);
        claims.extend(request.old.iter().flat_map(spec::claims));
        claims.retain(|claim| !live.contains(claim));
        let owner = owner_of(request);
        self.give_back(&Taken { owner: &owner, claims: claims.clone(), dry_run: false }).await;
        // A generated name was not known yet when its claims were made.
        let nameless = format!("{}/", request.namespace);
        self.give_back(&Taken { owner: &nameless, claims, dry_run: false }).await;
    }

    fn random(&self) -> u32 {
        let mut bytes = [0; 4];
        self.randomness.fill(&mut bytes);
        u32::from_be_bytes(bytes)
    }

    fn concerns(&self, request: &AdmissionRequest) -> bool {
        request.kind == self.services && request.subresource.is_empty()
    }
}

impl Step for ServiceAllocator {
    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest) -> Work<'a, Result<(), Status>> {
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        if writes && self.concerns(request) { Some(Box::pin(self.allocate(request))) } else { None }
    }

    fn runs_again(&self) -> bool {
        false
    }

    fn settled<'a>(&'a self, request: &'a AdmissionRequest, _stored: bool) -> Work<'a, ()> {
        if self.concerns(request) { Some(Box::pin(self.settle(request))) } else { None }
    }
}

/// The node port of an earlier port with the same number and another protocol, which upstream shares.
fn shared_node_port(service: &Value, at: usize) -> Option<u16> {
    let ports = service.path_list(&["spec", "ports"]);
    let wanted = ports.get(at)?;
    let number = |port: &Value| port.get("port").and_then(Value::as_i64);
    let protocol = |port: &Value| port.path_str(&["protocol"]).unwrap_or("TCP").to_owned();
    ports
        .iter()
        .enumerate()
        .filter(|(other, port)| {
            *other != at && number(port) == number(wanted) && protocol(port) != protocol(wanted)
        })
        .find_map(|(_, port)| spec::node_port(port))
}

fn owner_of(request: &AdmissionRequest) -> String {
    format!("{}/{}", request.namespace, request.name)
}

fn address_refused(service: &Value, address: IpAddr, why: &str) -> Status {
    let mut errors = ErrorList::new();
    let value = service.path(&["spec", "clusterIPs"]).cloned().unwrap_or(Value::Null);
    let path = Path::new("spec").child("clusterIPs");
    errors.invalid(&path, value, &format!("failed to allocate IP {address}: {why}"));
    invalid(errors, service)
}

fn invalid(errors: ErrorList, service: &Value) -> Status {
    errors
        .into_status("", "Service", Meta(service).name())
        .unwrap_or_else(|| Status::internal("a refused allocation has no error"))
}

fn internal(error: &ClaimsError) -> Status {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    Status::internal(format!("{error}: {cause}"))
}
