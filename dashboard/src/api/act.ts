// The changes that the dashboard offers; each is one ordinary API call.

import { getJson, send } from "./client.ts";
import { objectPath, type Kind } from "./kinds.ts";
import type { K8sObject } from "./watch.ts";

const MERGE = "application/merge-patch+json";
const STRATEGIC = "application/strategic-merge-patch+json";

const at = (kind: Kind, object: K8sObject) => objectPath(kind, object.metadata.namespace ?? "", object.metadata.name);

export const scale = (kind: Kind, object: K8sObject, replicas: number) =>
  send(`${at(kind, object)}/scale`, { method: "PATCH", type: MERGE, body: { spec: { replicas } } });

/** As `kubectl rollout restart`: the template changes by an annotation. */
export const restart = (kind: Kind, object: K8sObject) => {
  const annotations = { "kubectl.kubernetes.io/restartedAt": new Date().toISOString() };
  const body = { spec: { template: { metadata: { annotations } } } };
  return send(at(kind, object), { method: "PATCH", type: STRATEGIC, body });
};

/** Deletes this very object, not one of its name that came since. */
export const remove = (kind: Kind, object: K8sObject) => {
  const body = {
    apiVersion: "v1",
    kind: "DeleteOptions",
    propagationPolicy: "Background",
    preconditions: { uid: object.metadata.uid },
  };
  return send(at(kind, object), { method: "DELETE", body });
};

export const suspend = (kind: Kind, object: K8sObject, yes: boolean) =>
  send(at(kind, object), { method: "PATCH", type: MERGE, body: { spec: { suspend: yes } } });

export const cordon = (kind: Kind, object: K8sObject, yes: boolean) =>
  send(at(kind, object), { method: "PATCH", type: MERGE, body: { spec: { unschedulable: yes || null } } });

/** The object as the server writes it in YAML, without the owners of its fields. */
export async function readYaml(kind: Kind, namespace: string, name: string): Promise<string> {
  const response = await send(objectPath(kind, namespace, name), { accept: "application/yaml" });
  return withoutManagedFields(await response.text());
}

/** Cuts `metadata.managedFields`, which no person reads, out of a document in block style. */
export function withoutManagedFields(yaml: string): string {
  const kept: string[] = [];
  let inside = false;
  for (const line of yaml.split("\n")) {
    if (/^  managedFields:/.test(line)) inside = true;
    else if (inside && /^( {0,2}\S| {2}[^\s-])/.test(line) && !/^  - /.test(line)) inside = false;
    if (!inside) kept.push(line);
  }
  return kept.join("\n");
}

/** Writes an edited document; the server refuses it if the object changed meanwhile. */
export const writeYaml = (kind: Kind, namespace: string, name: string, yaml: string) =>
  getJson(objectPath(kind, namespace, name), { method: "PUT", type: "application/yaml", body: yaml });
