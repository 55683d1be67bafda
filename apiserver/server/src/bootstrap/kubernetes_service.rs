//! The `kubernetes` Service in namespace `default`, with the EndpointSlice and Endpoints that lead to every live server.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use mainstay_apiserver_kinds::{ENDPOINT_SLICE, ENDPOINTS, SERVICE};
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::pipeline::Target;
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::seed::Seeder;

/// How long until a failed attempt is made again.
const RETRY: std::time::Duration = std::time::Duration::from_secs(1);
/// So often, and so far apart, a server tries at its start.
const CREATE_ATTEMPTS: usize = 20;
const CREATE_AGAIN: std::time::Duration = std::time::Duration::from_millis(100);
const NAMESPACE: &str = "default";
const NAME: &str = "kubernetes";

/// Where the Service leads.
#[derive(Debug, Clone)]
pub struct KubernetesService {
    /// The Service's address: the first of the range.
    pub cluster_ip: IpAddr,
    /// Where this server is reached. The others listen on the same port.
    pub server: SocketAddr,
    /// Every server that lives.
    pub live: watch::Receiver<BTreeSet<SocketAddr>>,
}

impl KubernetesService {
    /// As [`KubernetesService::reconcile`], where other servers may do the same for the first time: one of them may hold the
    /// address already, and not have written the Service yet.
    ///
    /// # Errors
    /// The last refusal.
    pub async fn create(&self, seeder: &Seeder) -> Result<(), Status> {
        for _attempt in 1..CREATE_ATTEMPTS {
            match self.reconcile(seeder).await {
                Ok(()) => return Ok(()),
                Err(status) => info!(why = %status.message, "the kubernetes service is not there yet"),
            }
            tokio::time::sleep(CREATE_AGAIN).await;
        }
        self.reconcile(seeder).await
    }

    /// Creates what is missing and corrects what leads elsewhere.
    ///
    /// # Errors
    /// The first write that is refused.
    pub async fn reconcile(&self, seeder: &Seeder) -> Result<(), Status> {
        self.apply(seeder, &SERVICE, &self.service(), &["spec", "ports"]).await?;
        self.apply(seeder, &ENDPOINTS, &self.endpoints(), &["subsets"]).await?;
        self.apply(seeder, &ENDPOINT_SLICE, &self.slice(), &["endpoints"]).await?;
        self.apply(seeder, &ENDPOINT_SLICE, &self.slice(), &["ports"]).await
    }

    async fn apply(
        &self,
        seeder: &Seeder,
        kind: &'static Kind,
        wanted: &Value,
        path: &[&str],
    ) -> Result<(), Status> {
        if seeder.ensure(kind, wanted).await? {
            info!(kind = kind.kind, "created the object of the kubernetes service");
            return Ok(());
        }
        // This runs at every change of any Service: the usual case costs no more than one look.
        if let Some(cached) = seeder.registry().get(kind, NAMESPACE, Meta(wanted).name())
            && seeder.registry().decode_served(kind, &cached)?.path(path) == wanted.path(path)
        {
            return Ok(());
        }
        let request = Seeder::request(kind, NAMESPACE, Meta(wanted).name());
        let change = |current: &Value| {
            let mut new = current.clone();
            if let Some(value) = wanted.path(path) {
                new.set_path(path, value.clone());
            }
            Ok(new)
        };
        seeder.writer().update(&request, Target::Object, change).await?;
        Ok(())
    }

    /// Keeps the objects as they should be until `stop`.
    ///
    /// # Errors
    /// A kind that is not stored.
    pub async fn keep(mut self, seeder: Seeder, stop: CancellationToken) -> Result<(), Status> {
        let mut services = seeder.registry().changes(&SERVICE)?;
        let mut slices = seeder.registry().changes(&ENDPOINT_SLICE)?;
        loop {
            services.borrow_and_update();
            slices.borrow_and_update();
            self.live.borrow_and_update();
            let reconciled = self.reconcile(&seeder).await;
            if let Err(error) = &reconciled {
                warn!(error = %error.message, "the kubernetes service is not up to date");
            }
            let ended = tokio::select! {
                biased;
                () = stop.cancelled() => true,
                changed = services.changed() => changed.is_err(),
                changed = slices.changed() => changed.is_err(),
                changed = self.live.changed() => changed.is_err(),
                // The address may still be claimed by the deleted Service: nothing here changes when it is free.
                () = tokio::time::sleep(RETRY), if reconciled.is_err() => false,
            };
            if ended {
                return Ok(());
            }
        }
    }

    /// The addresses of the live servers of this server's family and port, its own always among them.
    fn addresses(&self) -> Vec<String> {
        let same = |other: &&SocketAddr| {
            other.port() == self.server.port() && other.is_ipv4() == self.server.is_ipv4()
        };
        let mut ips: BTreeSet<IpAddr> = self.live.borrow().iter().filter(same).map(SocketAddr::ip).collect();
        ips.insert(self.server.ip());
        ips.iter().map(ToString::to_string).collect()
    }

    fn metadata() -> Value {
        value!({
            "name": NAME,
            "namespace": NAMESPACE,
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        })
    }

    fn service(&self) -> Value {
        let family = if self.cluster_ip.is_ipv4() { "IPv4" } else { "IPv6" };
        let mut service = value!({
            "apiVersion": "v1",
            "kind": "Service",
            "spec": {
                "clusterIP": self.cluster_ip.to_string(),
                "clusterIPs": [self.cluster_ip.to_string()],
                "ipFamilies": [family],
                "ipFamilyPolicy": "SingleStack",
                "internalTrafficPolicy": "Cluster",
                "ports": [
                    {"name": "https", "port": 443, "protocol": "TCP", "targetPort": i64::from(self.server.port())}
                ],
                "sessionAffinity": "None",
                "type": "ClusterIP"
            }
        });
        service.set_path(&["metadata"], Self::metadata());
        service
    }

    fn endpoints(&self) -> Value {
        let addresses: Vec<Value> = self.addresses().into_iter().map(|ip| value!({"ip": ip})).collect();
        let mut endpoints = value!({
            "apiVersion": "v1",
            "kind": "Endpoints",
            "subsets": [{
                "addresses": addresses,
                "ports": [{"name": "https", "port": i64::from(self.server.port()), "protocol": "TCP"}]
            }]
        });
        endpoints.set_path(
            &["metadata"],
            value!({
                "name": NAME,
                "namespace": NAMESPACE,
                "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
            }),
        );
        endpoints
    }

    fn slice(&self) -> Value {
        let family = if self.server.is_ipv4() { "IPv4" } else { "IPv6" };
        let endpoint = |ip: String| value!({"addresses": [ip], "conditions": {"ready": true}});
        let endpoints: Vec<Value> = self.addresses().into_iter().map(endpoint).collect();
        value!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": NAME,
                "namespace": NAMESPACE,
                "labels": {"kubernetes.io/service-name": NAME},
            },
            "addressType": family,
            "endpoints": endpoints,
            "ports": [{"name": "https", "port": i64::from(self.server.port()), "protocol": "TCP"}],
        })
    }
}
