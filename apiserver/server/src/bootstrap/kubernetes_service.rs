//! The `kubernetes` Service in namespace `default`, with the EndpointSlice and Endpoints that lead to this server.

use std::net::{IpAddr, SocketAddr};

use mainstay_apiserver_kinds::{ENDPOINT_SLICE, ENDPOINTS, SERVICE};
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::pipeline::Target;
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::seed::Seeder;

/// How long until a failed attempt is made again.
const RETRY: std::time::Duration = std::time::Duration::from_secs(1);
const NAMESPACE: &str = "default";
const NAME: &str = "kubernetes";

/// Where the Service leads.
#[derive(Debug, Clone, Copy)]
pub struct KubernetesService {
    /// The Service's address: the first of the range.
    pub cluster_ip: IpAddr,
    /// Where this server is reached.
    pub server: SocketAddr,
}

impl KubernetesService {
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
    pub async fn keep(self, seeder: Seeder, stop: CancellationToken) -> Result<(), Status> {
        let mut services = seeder.registry().changes(&SERVICE)?;
        let mut slices = seeder.registry().changes(&ENDPOINT_SLICE)?;
        loop {
            services.borrow_and_update();
            slices.borrow_and_update();
            let reconciled = self.reconcile(&seeder).await;
            if let Err(error) = &reconciled {
                warn!(error = %error.message, "the kubernetes service is not up to date");
            }
            let ended = tokio::select! {
                biased;
                () = stop.cancelled() => true,
                changed = services.changed() => changed.is_err(),
                changed = slices.changed() => changed.is_err(),
                // The address may still be claimed by the deleted Service: nothing here changes when it is free.
                () = tokio::time::sleep(RETRY), if reconciled.is_err() => false,
            };
            if ended {
                return Ok(());
            }
        }
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
        let mut endpoints = value!({
            "apiVersion": "v1",
            "kind": "Endpoints",
            "subsets": [{
                "addresses": [{"ip": self.server.ip().to_string()}],
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
        value!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": NAME,
                "namespace": NAMESPACE,
                "labels": {"kubernetes.io/service-name": NAME},
            },
            "addressType": family,
            "endpoints": [{"addresses": [self.server.ip().to_string()], "conditions": {"ready": true}}],
            "ports": [{"name": "https", "port": i64::from(self.server.port()), "protocol": "TCP"}],
        })
    }
}
