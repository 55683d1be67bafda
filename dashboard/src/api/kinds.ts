// The kinds that have pages, and how their paths are made. Everything else is reached through discovery (pages/explore.tsx).

export interface Kind {
  /** Empty for the core group. */
  group: string;
  version: string;
  plural: string;
  kind: string;
  namespaced: boolean;
}

const of = (group: string, version: string, plural: string, kind: string, namespaced = true): Kind => ({
  group,
  version,
  plural,
  kind,
  namespaced,
});

export const NODE = of("", "v1", "nodes", "Node", false);
export const NAMESPACE = of("", "v1", "namespaces", "Namespace", false);
export const POD = of("", "v1", "pods", "Pod");
export const EVENT = of("", "v1", "events", "Event");
export const SERVICE = of("", "v1", "services", "Service");
export const CONFIG_MAP = of("", "v1", "configmaps", "ConfigMap");
export const SECRET = of("", "v1", "secrets", "Secret");
export const DEPLOYMENT = of("apps", "v1", "deployments", "Deployment");
export const STATEFUL_SET = of("apps", "v1", "statefulsets", "StatefulSet");
export const DAEMON_SET = of("apps", "v1", "daemonsets", "DaemonSet");
export const REPLICA_SET = of("apps", "v1", "replicasets", "ReplicaSet");
export const JOB = of("batch", "v1", "jobs", "Job");
export const CRON_JOB = of("batch", "v1", "cronjobs", "CronJob");
export const ENDPOINT_SLICE = of("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice");

export const WORKLOADS = [DEPLOYMENT, STATEFUL_SET, DAEMON_SET, JOB, CRON_JOB, REPLICA_SET];
const PAGED = [...WORKLOADS, NODE, NAMESPACE, POD, EVENT, SERVICE, CONFIG_MAP, SECRET];

/** `GROUP~VERSION~PLURAL` in the address of a page; the core group is `core`. */
export function slug(kind: Kind): string {
  return `${kind.group || "core"}~${kind.version}~${kind.plural}`;
}

/** The API's path of a group and version. */
export function groupPath(kind: Pick<Kind, "group" | "version">): string {
  return kind.group ? `/apis/${kind.group}/${kind.version}` : `/api/${kind.version}`;
}

/** The path of a collection: in one namespace, or in all. */
export function listPath(kind: Kind, namespace = ""): string {
  const inside = kind.namespaced && namespace ? `/namespaces/${encodeURIComponent(namespace)}` : "";
  return `${groupPath(kind)}${inside}/${kind.plural}`;
}

/** The path of one object. */
export function objectPath(kind: Kind, namespace: string, name: string): string {
  return `${listPath(kind, namespace)}/${encodeURIComponent(name)}`;
}

/** The page of one object. */
export function pageOf(kind: Kind, namespace: string | undefined, name: string): string {
  const place = kind.namespaced ? `${encodeURIComponent(namespace ?? "")}/${encodeURIComponent(name)}` : encodeURIComponent(name);
  if (kind === POD) return `#/pods/${place}`;
  if (kind === NODE) return `#/nodes/${place}`;
  if (WORKLOADS.includes(kind)) return `#/workloads/${kind.plural}/${place}`;
  return `#/object/${slug(kind)}/${place}`;
}

/** The kind that an owner or an event names, if it has a page. */
export function kindNamed(name: string, apiVersion = ""): Kind | undefined {
  const group = apiVersion.includes("/") ? apiVersion.split("/")[0] : "";
  return PAGED.find((kind) => kind.kind === name && (!apiVersion || kind.group === group));
}
