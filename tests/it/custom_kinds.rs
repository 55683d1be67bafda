//! Kinds that a kube-rs program defines: it applies, watches, scales and deletes their objects, and is told of its mistakes.

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
    WatchEvent, WatchParams,
};
use kube::{Api, Client, Error, ResourceExt as _};
use serde_json::{Value, json};

use crate::plane::{Plane, eventually};

/// A definition whose objects have two versions, rules, a status and a scale.
fn definition() -> CustomResourceDefinition {
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "size": {"type": "string", "maxLength": 8, "default": "M"}, "replicas": {"type": "integer"}},
            "x-kubernetes-validations": [{"rule": "!has(self.replicas) || self.replicas < 10", "message": "nine at most"}]},
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}}}}});
    let version = |name: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage, "schema": schema, "subresources": {"status": {},
            "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}}})
    };
    let definition = json!({"metadata": {"name": "shirts.shop.example.com"}, "spec": {"group": "shop.example.com",
        "scope": "Namespaced", "names": {"kind": "Shirt", "plural": "shirts"},
        "versions": [version("v1", true), version("v2", false)]}});
    serde_json::from_value(definition).unwrap()
}

fn shirts(client: &Client, version: &str) -> (Api<DynamicObject>, ApiResource) {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("shop.example.com", version, "Shirt"));
    (Api::default_namespaced_with(client.clone(), &kind), kind)
}

fn shirt(kind: &ApiResource, name: &str, spec: &Value) -> DynamicObject {
    DynamicObject::new(name, kind).data(json!({"spec": spec}))
}

fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> (u16, String) {
    match result {
        Err(Error::Api(status)) => (status.code, status.message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kube_rs_program_works_with_a_kind_of_its_own() {
    let plane = Plane::start(&[]).await;
    let client = plane.admin();
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions.create(&PostParams::default(), &definition()).await.unwrap();
    eventually(&definitions, "the kind is established", |all| {
        let conditions = |one: &CustomResourceDefinition| one.status.clone().unwrap_or_default().conditions;
        all.iter().any(|one| {
            conditions(one)
                .into_iter()
                .flatten()
                .any(|one| one.type_ == "Established" && one.status == "True")
        })
    })
    .await;
    let (api, kind) = shirts(&client, "v1");
    let mine = PatchParams::apply("tailor");
    let red = shirt(&kind, "red", &json!({"replicas": 1}));
    let made = api.patch("red", &mine, &Patch::Apply(&red)).await.unwrap();
    assert_eq!(made.data["spec"], json!({"replicas": 1, "size": "M"}), "with its default");
    let too_many = shirt(&kind, "blue", &json!({"replicas": 10}));
    let (code, why) = refusal(api.create(&PostParams::default(), &too_many).await);
    assert!(code == 422 && why.contains("nine at most"), "{code} {why}");
    let other = shirt(&kind, "red", &json!({"replicas": 2}));
    let (code, why) = refusal(api.patch("red", &PatchParams::apply("other"), &Patch::Apply(&other)).await);
    assert!(code == 409 && why.contains("conflict with \"tailor\": .spec.replicas"), "{code} {why}");

    let version = made.resource_version().unwrap();
    let watch = api.watch(&WatchParams::default().timeout(30), &version).await.unwrap();
    let scaled = json!({"spec": {"replicas": 3}});
    let scale = api.patch_scale("red", &PatchParams::default(), &Patch::Merge(&scaled)).await.unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(3));
    let status = json!({"status": {"replicas": 3}});
    api.patch_status("red", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    let (newer, _) = shirts(&client, "v2");
    let seen = newer.get("red").await.unwrap();
    assert_eq!(seen.types.unwrap().api_version, "shop.example.com/v2");
    assert_eq!((&seen.data["spec"]["replicas"], &seen.data["status"]["replicas"]), (&json!(3), &json!(3)));
    newer.delete("red", &DeleteParams::default()).await.unwrap();
    let events: Vec<&str> = watch
        .map_ok(|event| match event {
            WatchEvent::Modified(object) if object.data["status"].is_object() => "status",
            WatchEvent::Modified(_) => "scale",
            WatchEvent::Deleted(_) => "gone",
            _ => "something else",
        })
        .take(3)
        .try_collect()
        .await
        .unwrap();
    assert_eq!(events, ["scale", "status", "gone"]);
    assert!(api.list(&ListParams::default()).await.unwrap().items.is_empty());
    definitions.delete("shirts.shop.example.com", &DeleteParams::default()).await.unwrap();
    eventually(&definitions, "the kind is gone", <[_]>::is_empty).await;
    plane.stop().await;
}
