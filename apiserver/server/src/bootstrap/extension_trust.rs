//! What extension servers need to believe this server: the ConfigMap `kube-system/extension-apiserver-authentication`.

use std::time::Duration;

use mainstay_apiserver_kinds::CONFIG_MAP;
use mainstay_apiserver_machinery::json;
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::seed::Seeder;
use crate::config::ServerConfig;

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";
/// After an attempt that failed.
const RETRY: Duration = Duration::from_secs(1);
/// The name in the front proxy's certificate, which extension servers ask for.
pub const FRONT_PROXY_NAME: &str = "front-proxy-client";

/// The data of the ConfigMap.
pub(super) struct ExtensionTrust {
    clients: watch::Receiver<String>,
    /// None where no extension server is spoken to.
    front_proxy: Option<watch::Receiver<String>>,
    data: Vec<(&'static str, String)>,
}

impl ExtensionTrust {
    pub(super) fn of(config: &ServerConfig) -> Self {
        let list = |names: &[&str]| json::to_string(&Value::from(names.to_vec()));
        let mut data = Vec::new();
        if config.front_proxy.is_some() {
            data.push(("requestheader-allowed-names", list(&[FRONT_PROXY_NAME])));
            data.push(("requestheader-username-headers", list(&["X-Remote-User"])));
            data.push(("requestheader-uid-headers", list(&["X-Remote-Uid"])));
            data.push(("requestheader-group-headers", list(&["X-Remote-Group"])));
            data.push(("requestheader-extra-headers-prefix", list(&["X-Remote-Extra-"])));
        }
        let front_proxy = config.front_proxy.as_ref().map(|front_proxy| front_proxy.ca_pem.clone());
        Self { clients: config.client_ca_pem.clone(), front_proxy, data }
    }

    /// Makes the ConfigMap, or brings it up to date.
    pub(super) async fn publish(&self, seeder: &Seeder) -> Result<(), Status> {
        let mut data = Value::map();
        data.set_path(&["client-ca-file"], self.clients.borrow().as_str());
        if let Some(front_proxy) = &self.front_proxy {
            data.set_path(&["requestheader-client-ca-file"], front_proxy.borrow().as_str());
        }
        for (key, text) in &self.data {
            data.set_path(&[key], text.as_str());
        }
        let object = value!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": NAME, "namespace": NAMESPACE}, "data": data.clone()});
        if seeder.ensure(&CONFIG_MAP, &object).await? {
            return Ok(());
        }
        let change = |mut present: Value| {
            if present.get("data") == Some(&data) {
                return Ok(None);
            }
            present.set_path(&["data"], data.clone());
            Ok(Some(present))
        };
        seeder.registry().update_with(&CONFIG_MAP, NAMESPACE, NAME, change).await.map(drop)
    }

    /// Publishes again whenever the authorities of clients or of the front proxy have changed, until `stop` or until nobody changes them any more.
    pub(super) async fn keep(mut self, seeder: Seeder, stop: CancellationToken) -> Result<(), Status> {
        let mut pause = None;
        let mut front_proxy = self.front_proxy.clone();
        loop {
            let again = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                changed = self.clients.changed() => if changed.is_err() { return Ok(()) },
                () = other_change(&mut front_proxy) => {}
                () = again => {}
            }
            let published = self.publish(&seeder).await;
            pause = published.is_err().then_some(RETRY);
            if let Err(error) = published {
                warn!(error = %error.message, "extension servers are not told of the authorities; it is tried again");
            }
        }
    }
}

/// Resolves at the next change; never if there is nothing that changes, or nobody changes it any more.
async fn other_change(pem: &mut Option<watch::Receiver<String>>) {
    let changed = match pem {
        Some(pem) => pem.changed().await.is_ok(),
        None => false,
    };
    if !changed {
        std::future::pending::<()>().await;
    }
}
