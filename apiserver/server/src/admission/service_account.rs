//! `ServiceAccount`: every pod runs as a service account that exists, and gets its token mounted.

use std::sync::Arc;
use std::time::Duration;

use mainstay_apiserver_kinds::{POD, SERVICE_ACCOUNT};
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::pipeline::{NAME_SUFFIX_LENGTH, name_suffix};
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;

use super::step::{Step, Work, at_once, refuse};
use crate::config::Randomness;
use crate::registry::Registry;
use crate::types::{AdmissionRequest, Operation};

/// Annotation of pods that mirror a static pod of a node.
pub const MIRROR: &str = "kubernetes.io/config.mirror";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// Seconds a mounted token lives; the node agent asks for a new one before.
const TOKEN_SECONDS: i64 = 3607;
const DEFAULT: &str = "default";
/// How long a pod waits for the default account of a namespace that was just made.
const DEFAULT_WAIT: Duration = Duration::from_secs(1);

/// The step.
pub struct ServiceAccountStep {
    registry: Registry,
    randomness: Arc<dyn Randomness>,
}

impl ServiceAccountStep {
    /// The step over the cluster's service accounts.
    pub fn new(registry: Registry, randomness: Arc<dyn Randomness>) -> Self {
        Self { registry, randomness }
    }

    async fn complete(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        if Meta(&request.object).annotation(MIRROR).is_some() {
            return Ok(());
        }
        let pod = &mut request.object;
        if account_name(pod).is_empty() {
            pod.set_path(&["spec", "serviceAccountName"], DEFAULT);
        }
        let name = account_name(pod).to_owned();
        pod.set_path(&["spec", "serviceAccount"], name.as_str());
        let account = self.find(request, &name).await?;
        let pod = &mut request.object;
        if automounts(pod, &account) {
            let mut random = [0; NAME_SUFFIX_LENGTH];
            self.randomness.fill(&mut random);
            mount_token(pod, &format!("{VOLUME_PREFIX}{}", name_suffix(random)));
        }
        let secrets = account.path_list(&["imagePullSecrets"]);
        if pod.path_list(&["spec", "imagePullSecrets"]).is_empty() && !secrets.is_empty() {
            pod.set_path(&["spec", "imagePullSecrets"], secrets.to_vec());
        }
        Ok(())
    }

    async fn find(&self, request: &AdmissionRequest, name: &str) -> Result<Value, Status> {
        let namespace = request.namespace.as_str();
        let found = match self.registry.get(&SERVICE_ACCOUNT, namespace, name) {
            Some(found) => Some(found),
            None if name == DEFAULT => self.wait_for_default(namespace).await?,
            None => self.registry.get_fresh(&SERVICE_ACCOUNT, namespace, name).await?,
        };
        let Some(found) = found else {
            let why = format!(
                "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
            );
            return Err(refuse(request, why));
        };
        self.registry.decode_served(&SERVICE_ACCOUNT, &found)
    }

    async fn wait_for_default(&self, namespace: &str) -> Result<Option<Arc<crate::cache::Cached>>, Status> {
        let mut changes = self.registry.changes(&SERVICE_ACCOUNT)?;
        let wait = async {
            loop {
                changes.borrow_and_update();
                if let Some(found) = self.registry.get_fresh(&SERVICE_ACCOUNT, namespace, DEFAULT).await? {
                    return Ok(Some(found));
                }
                if changes.changed().await.is_err() {
                    return Ok(None);
                }
            }
        };
        // Given up after a second: the client sees which account is missing and tries again.
        tokio::time::timeout(DEFAULT_WAIT, wait).await.unwrap_or(Ok(None))
    }

    fn check(request: &AdmissionRequest) -> Result<(), Status> {
        let pod = &request.object;
        if Meta(pod).annotation(MIRROR).is_none() {
            return Ok(());
        }
        if !account_name(pod).is_empty() {
            return Err(refuse(request, "a mirror pod may not reference service accounts"));
        }
        let volumes = pod.path_list(&["spec", "volumes"]);
        if volumes.iter().any(|volume| volume.get("secret").is_some()) {
            return Err(refuse(request, "a mirror pod may not reference secrets"));
        }
        let tokens = volumes.iter().flat_map(|volume| volume.path_list(&["projected", "sources"]));
        if tokens.into_iter().any(|source| source.get("serviceAccountToken").is_some()) {
            return Err(refuse(request, "a mirror pod may not use ServiceAccountToken volume projections"));
        }
        Ok(())
    }
}

fn account_name(pod: &Value) -> &str {
    let name = |field| pod.path_str(&["spec", field]).unwrap_or_default();
    match name("serviceAccountName") {
        "" => name("serviceAccount"),
        found => found,
    }
}

fn automounts(pod: &Value, account: &Value) -> bool {
    pod.path_bool(&["spec", "automountServiceAccountToken"])
        .or_else(|| account.path_bool(&["automountServiceAccountToken"]))
        .unwrap_or(true)
}

/// Mounts the token into every container that mounts nothing there, and adds the volume if one did.
fn mount_token(pod: &mut Value, fresh_name: &str) {
    let volumes = pod.path_list(&["spec", "volumes"]);
    let existing = volumes
        .iter()
        .filter_map(|volume| volume.path_str(&["name"]))
        .find(|name| name.starts_with(VOLUME_PREFIX))
        .map(str::to_owned);
    let name = existing.as_deref().unwrap_or(fresh_name);
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        let containers = pod.path_mut(&["spec", list]).and_then(Value::as_list_mut);
        for container in containers.into_iter().flatten() {
            let mut mounts = container.path_list(&["volumeMounts"]).to_vec();
            if mounts.iter().any(|mount| mount.path_str(&["mountPath"]) == Some(MOUNT_PATH)) {
                continue;
            }
            mounts.push(value!({"name": name, "mountPath": MOUNT_PATH, "readOnly": true}));
            container.set_path(&["volumeMounts"], mounts);
            mounted = true;
        }
    }
    if mounted && existing.is_none() {
        let mut volumes = pod.path_list(&["spec", "volumes"]).to_vec();
        volumes.push(token_volume(fresh_name));
        pod.set_path(&["spec", "volumes"], volumes);
    }
}

fn token_volume(name: &str) -> Value {
    value!({
        "name": name,
        "projected": {
            "defaultMode": 420,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"items": [{"key": "ca.crt", "path": "ca.crt"}], "name": "kube-root-ca.crt"}},
                {"downwardAPI": {"items": [
                    {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}, "path": "namespace"}
                ]}}
            ]
        }
    })
}

impl Step for ServiceAccountStep {
    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest) -> Work<'a, Result<(), Status>> {
        let creates = request.operation == Operation::Create && request.subresource.is_empty();
        if *request.kind == POD && creates { Some(Box::pin(self.complete(request))) } else { None }
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest) -> Work<'a, Result<(), Status>> {
        let creates = request.operation == Operation::Create && request.subresource.is_empty();
        if *request.kind == POD && creates { at_once(Self::check(request)) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_without_a_mount_get_one() {
        let mut pod = value!({"spec": {
            "initContainers": [{"name": "i"}],
            "containers": [{"name": "a"}, {"name": "b", "volumeMounts": [{"name": "own", "mountPath": MOUNT_PATH}]}]
        }});
        mount_token(&mut pod, "kube-api-access-abcde");
        let mounts =
            |list: &str, at: usize| pod.path_list(&["spec", list])[at].path_list(&["volumeMounts"]).to_vec();
        assert_eq!(mounts("containers", 0)[0].path_str(&["name"]), Some("kube-api-access-abcde"));
        assert_eq!(mounts("initContainers", 0).len(), 1);
        assert_eq!(mounts("containers", 1)[0].path_str(&["name"]), Some("own"));
        assert_eq!(pod.path_list(&["spec", "volumes"]).len(), 1);
    }

    #[test]
    fn no_volume_is_added_that_nobody_mounts() {
        let mut pod = value!({"spec": {"containers": [{"name": "b", "volumeMounts": [{"name": "own", "mountPath": MOUNT_PATH}]}]}});
        mount_token(&mut pod, "kube-api-access-abcde");
        assert!(pod.path_list(&["spec", "volumes"]).is_empty());
    }

    #[test]
    fn the_pod_decides_before_the_account() {
        let no = value!({"automountServiceAccountToken": false});
        let yes = value!({"spec": {"automountServiceAccountToken": true}});
        assert!(automounts(&yes, &no));
        assert!(!automounts(&value!({"spec": {}}), &no));
        assert!(automounts(&value!({"spec": {}}), &value!({})));
    }
}
