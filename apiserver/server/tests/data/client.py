"""What the Python client does with the server; the kubeconfig is in $KUBECONFIG. Any failure ends it with a traceback."""

from kubernetes import client, config, dynamic, watch
from kubernetes.client.rest import ApiException

config.load_kube_config()
core, custom = client.CoreV1Api(), client.CustomObjectsApi()


def refused(code, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except ApiException as error:
        assert error.status == code, error
        return error
    raise AssertionError(f"{call} was not refused")


meta = client.V1ObjectMeta(name="py", labels={"from": "python"})
made = core.create_namespaced_config_map("default", client.V1ConfigMap(metadata=meta, data={"a": "1"}))
assert made.metadata.uid and made.data == {"a": "1"}
refused(409, core.create_namespaced_config_map, "default", client.V1ConfigMap(metadata=meta))
patched = core.patch_namespaced_config_map("py", "default", {"data": {"b": "2"}})
assert patched.data == {"a": "1", "b": "2"}
stale = core.read_namespaced_config_map("py", "default")
stale.metadata.resource_version = made.metadata.resource_version
refused(409, core.replace_namespaced_config_map, "py", "default", stale)
listed = core.list_namespaced_config_map("default", label_selector="from=python", limit=1)
assert [one.metadata.name for one in listed.items] == ["py"]
refused(404, core.read_namespaced_config_map, "none", "default")
invalid = refused(422, core.create_namespaced_service, "default",
                  client.V1Service(metadata=client.V1ObjectMeta(name="Bad_Name"), spec=client.V1ServiceSpec(ports=[])))
assert invalid.reason, invalid

seen = []
for event in watch.Watch().stream(core.list_namespaced_config_map, "default", label_selector="from=python",
                                  resource_version=made.metadata.resource_version, timeout_seconds=20):
    seen.append(event["type"])
    if event["type"] == "MODIFIED":
        core.delete_namespaced_config_map("py", "default")
    if event["type"] == "DELETED":
        break
assert seen == ["MODIFIED", "DELETED"], seen

deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
    "replicas": 2, "selector": {"matchLabels": {"app": "web"}},
    "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "web:1"}]}}}}
resources = dynamic.DynamicClient(client.ApiClient())
deployments = resources.resources.get(api_version="apps/v1", kind="Deployment")
applied = deployments.server_side_apply(body=deployment, name="web", namespace="default", field_manager="python")
assert applied.spec.replicas == 2 and applied.spec.strategy.type == "RollingUpdate"
apps = client.AppsV1Api()
assert apps.read_namespaced_deployment_scale("web", "default").spec.replicas == 2
apps.patch_namespaced_deployment_scale("web", "default", {"spec": {"replicas": 3}})
assert apps.read_namespaced_deployment("web", "default").spec.replicas == 3
apps.delete_namespaced_deployment("web", "default", propagation_policy="Foreground")

group, version = "clients.example.com", "v1"
note = {"apiVersion": f"{group}/{version}", "kind": "Note", "metadata": {"name": "n"}, "spec": {"text": "hello"}}
custom.create_namespaced_custom_object(group, version, "default", "notes", note)
notes = custom.list_namespaced_custom_object(group, version, "default", "notes")
assert [one["spec"]["text"] for one in notes["items"]] == ["hello"]
wrong = dict(note, metadata={"name": "w"}, spec={"text": 5})
refused(422, custom.create_namespaced_custom_object, group, version, "default", "notes", wrong)
custom.delete_namespaced_custom_object(group, version, "default", "notes", "n")
print("python is content")
