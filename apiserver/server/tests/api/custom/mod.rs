//! CustomResourceDefinitions and the resources that they define, in the shapes of well-known projects.

mod applies;
mod conversion;
mod definitions;
mod deletion;
mod objects;
mod policies;
mod rules;
pub(crate) mod shapes;
mod versions;

pub(crate) use conversion::{answered, endpoints};
use serde_json::{Value, json};

use crate::client::Client;

pub(crate) const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// A definition of `kind` in `group` with these versions.
pub(crate) fn definition(group: &str, kind: &str, scope: &str, versions: &Value) -> Value {
    let plural = format!("{}s", kind.to_lowercase());
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": scope, "names": {"kind": kind, "plural": plural}, "versions": versions},
    })
}

/// One served and stored version.
pub(crate) fn version(name: &str, schema: &Value) -> Value {
    json!({"name": name, "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}})
}

/// Creates a definition and waits until it is established; the definition then.
pub(crate) async fn install(client: &Client, crd: &Value) -> Value {
    let created = client.post(CRDS, crd).await.expect(201);
    let name = created["metadata"]["name"].as_str().unwrap();
    wait_for(client, name, "Established", "True").await
}

/// Waits until a condition of a definition has a status.
pub(crate) async fn wait_for(client: &Client, name: &str, condition: &str, status: &str) -> Value {
    let path = format!("{CRDS}?watch=1&fieldSelector=metadata.name%3D{name}");
    let mut watch = client.watch(&path, "application/json").await;
    loop {
        let event = watch.next().await.expect("one more event");
        let conditions = event["object"]["status"]["conditions"].as_array().cloned().unwrap_or_default();
        if conditions.iter().any(|one| one["type"] == condition && one["status"] == status) {
            return event["object"].clone();
        }
    }
}
