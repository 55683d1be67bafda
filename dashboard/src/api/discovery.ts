// Which kinds this API server serves.

import { getJson } from "./client.ts";
import type { Kind } from "./kinds.ts";

const ACCEPT = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

/** All kinds that can be listed, each in the version that its group prefers. */
export async function discover(): Promise<Kind[]> {
  const documents = await Promise.all(["/api", "/apis"].map((path) => getJson(path, { accept: ACCEPT })));
  const kinds: Kind[] = [];
  for (const group of documents.flatMap((document) => document.items ?? [])) {
    const seen = new Set<string>();
    for (const version of group.versions ?? []) {
      for (const resource of version.resources ?? []) {
        if (seen.has(resource.resource) || !(resource.verbs ?? []).includes("list")) continue;
        seen.add(resource.resource);
        kinds.push({
          group: group.metadata?.name ?? "",
          version: version.version,
          plural: resource.resource,
          kind: resource.responseKind?.kind ?? resource.resource,
          namespaced: resource.scope === "Namespaced",
        });
      }
    }
  }
  return kinds.sort((a, b) => (a.kind < b.kind ? -1 : a.kind > b.kind ? 1 : a.group < b.group ? -1 : 1));
}
