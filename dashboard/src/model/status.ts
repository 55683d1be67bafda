// What an object's state comes to in one word and one colour. The words are kubectl's.

import type { K8sObject } from "../api/watch.ts";

export type Tone = "ok" | "warn" | "bad" | "info" | "idle";

export interface State {
  text: string;
  tone: Tone;
}

export interface PodState extends State {
  ready: number;
  total: number;
  restarts: number;
}

const WAITING_WELL = new Set(["ContainerCreating", "PodInitializing", "Pending"]);

/** As the STATUS column of `kubectl get pods`. */
export function podState(pod: K8sObject): PodState {
  const status = pod["status"] ?? {};
  const spec = pod["spec"] ?? {};
  const containers: any[] = status.containerStatuses ?? [];
  const total: number = (spec.containers ?? []).length;
  const ready = containers.filter((one) => one.ready).length;
  const restarts = containers.reduce((sum, one) => sum + (one.restartCount ?? 0), 0);
  const text = podReason(pod, status, spec, containers);
  return { text, tone: podTone(text, ready, total), ready, total, restarts };
}

function podReason(pod: K8sObject, status: any, spec: any, containers: any[]): string {
  if (pod.metadata.deletionTimestamp) return status.reason === "NodeLost" ? "Unknown" : "Terminating";
  const initial = initReason(status, spec);
  if (initial) return initial;
  let reason: string = status.reason || status.phase || "Pending";
  let running = false;
  for (const one of [...containers].reverse()) {
    const { waiting, terminated } = one.state ?? {};
    if (waiting?.reason) reason = waiting.reason;
    else if (terminated) reason = endReason(terminated);
    else if (one.ready && one.state?.running) running = true;
  }
  if (reason === "Completed" && running) reason = "Running";
  return reason;
}

function endReason(terminated: any): string {
  if (terminated.reason) return terminated.reason;
  return terminated.signal ? `Signal:${terminated.signal}` : `ExitCode:${terminated.exitCode}`;
}

function initReason(status: any, spec: any): string {
  const statuses: any[] = status.initContainerStatuses ?? [];
  const isSidecar = (name: string) =>
    (spec.initContainers ?? []).some((one: any) => one.name === name && one.restartPolicy === "Always");
  for (const [index, one] of statuses.entries()) {
    const { waiting, terminated } = one.state ?? {};
    if (terminated?.exitCode === 0 || (isSidecar(one.name) && one.started)) continue;
    if (terminated) return `Init:${endReason(terminated)}`;
    if (waiting?.reason && waiting.reason !== "PodInitializing") return `Init:${waiting.reason}`;
    return `Init:${index}/${statuses.length}`;
  }
  return "";
}

function podTone(text: string, ready: number, total: number): Tone {
  if (text === "Running") return ready === total ? "ok" : "warn";
  if (text === "Succeeded" || text === "Completed") return "idle";
  if (text === "Terminating") return "idle";
  if (WAITING_WELL.has(text) || /^Init:\d/.test(text)) return "info";
  return "bad";
}

export interface NodeState extends State {
  roles: string[];
  problems: string[];
}

export function nodeState(node: K8sObject): NodeState {
  const conditions: any[] = node["status"]?.conditions ?? [];
  const ready = conditions.find((one) => one.type === "Ready");
  const problems = conditions.filter((one) => one.type !== "Ready" && one.status === "True").map((one) => one.type as string);
  const prefix = "node-role.kubernetes.io/";
  const roles = Object.keys(node.metadata.labels ?? {}).filter((label) => label.startsWith(prefix)).map((label) => label.slice(prefix.length));
  let text = ready?.status === "True" ? "Ready" : ready?.status === "Unknown" ? "Unknown" : "NotReady";
  let tone: Tone = text === "Ready" ? (problems.length > 0 ? "warn" : "ok") : "bad";
  if (node["spec"]?.unschedulable) {
    text += ", cordoned";
    if (tone === "ok") tone = "warn";
  }
  return { text, tone, roles, problems };
}

export interface WorkloadState extends State {
  ready: number;
  wanted: number;
}

/** Of any kind that has pods of its own. */
export function workloadState(kind: string, object: K8sObject): WorkloadState {
  const spec = object["spec"] ?? {};
  const status = object["status"] ?? {};
  if (kind === "Job") return jobState(spec, status);
  if (kind === "CronJob") {
    const active = (status.active ?? []).length;
    if (spec.suspend) return { text: "Suspended", tone: "idle", ready: active, wanted: active };
    return { text: active > 0 ? "Active" : "Scheduled", tone: active > 0 ? "info" : "ok", ready: active, wanted: active };
  }
  const isDaemon = kind === "DaemonSet";
  const wanted: number = isDaemon ? (status.desiredNumberScheduled ?? 0) : (spec.replicas ?? 1);
  const ready: number = (isDaemon ? status.numberReady : status.readyReplicas) ?? 0;
  const updated: number = (isDaemon ? status.updatedNumberScheduled : status.updatedReplicas) ?? 0;
  const behind = (status.observedGeneration ?? 0) < (object.metadata["generation"] ?? 0);
  const failing = (status.conditions ?? []).find(
    (one: any) => (one.type === "Progressing" && one.status === "False") || (one.type === "ReplicaFailure" && one.status === "True"),
  );
  if (object.metadata.deletionTimestamp) return { text: "Terminating", tone: "idle", ready, wanted };
  if (failing) return { text: failing.reason ?? "Failing", tone: "bad", ready, wanted };
  if (wanted === 0 && ready === 0) return { text: "Scaled to 0", tone: "idle", ready, wanted };
  if (spec.paused) return { text: "Paused", tone: "idle", ready, wanted };
  const rolls = kind !== "ReplicaSet" && updated < wanted;
  if (behind || rolls) return { text: "Updating", tone: "info", ready, wanted };
  if (ready < wanted) return { text: ready === 0 ? "Unavailable" : "Degraded", tone: ready === 0 ? "bad" : "warn", ready, wanted };
  return { text: "Healthy", tone: "ok", ready, wanted };
}

function jobState(spec: any, status: any): WorkloadState {
  const wanted: number = spec.completions ?? spec.parallelism ?? 1;
  const ready: number = status.succeeded ?? 0;
  const met = (type: string) => (status.conditions ?? []).find((one: any) => one.type === type && one.status === "True");
  if (met("Complete")) return { text: "Complete", tone: "ok", ready, wanted };
  const failed = met("Failed");
  if (failed) return { text: failed.reason ?? "Failed", tone: "bad", ready, wanted };
  if (met("Suspended")) return { text: "Suspended", tone: "idle", ready, wanted };
  return { text: (status.active ?? 0) > 0 ? "Running" : "Waiting", tone: "info", ready, wanted };
}

/** What all containers of a pod ask for together; init containers count where they ask for more. */
export function requests(pod: K8sObject, resource: string, read: (text: unknown) => number): number {
  const of = (one: any) => read(one.resources?.requests?.[resource]);
  const spec = pod["spec"] ?? {};
  const sidecars: any[] = (spec.initContainers ?? []).filter((one: any) => one.restartPolicy === "Always");
  const sum = [...(spec.containers ?? []), ...sidecars].reduce((all: number, one: any) => all + of(one), 0);
  const initial = (spec.initContainers ?? []).filter((one: any) => one.restartPolicy !== "Always").map(of);
  return Math.max(sum, ...initial) + read(spec.overhead?.[resource]);
}

/** Whether a pod still takes room on its node. */
export const isActive = (pod: K8sObject) => !["Succeeded", "Failed"].includes(pod["status"]?.phase);

/** When an event was last seen. */
export function eventTime(event: K8sObject): string {
  const series = event["series"]?.lastObservedTime;
  return series ?? event["lastTimestamp"] ?? event["eventTime"] ?? event["firstTimestamp"] ?? event.metadata.creationTimestamp ?? "";
}

export const eventCount = (event: K8sObject): number => event["series"]?.count ?? event["count"] ?? 1;
