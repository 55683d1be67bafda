// What pages show: one store for each collection that some page looks at, followed by one watch, shared and counted.

import { signal, type Signal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";

import { getJson, lines, send } from "./client.ts";
import { listPath, type Kind } from "./kinds.ts";
import { user } from "./session.ts";
import { follow, type K8sObject, type Page, type Phase, type Sink, type Transport, type WatchEvent } from "./watch.ts";

export interface Collection {
  phase: Phase;
  /** Sorted by namespace and name. */
  items: K8sObject[];
  error?: unknown;
}

export interface Selection {
  fieldSelector?: string;
  labelSelector?: string;
  /** Only names, labels and the like are sent, never the contents. */
  metadataOnly?: boolean;
}

/** Changes that come together are shown together. */
const GATHER_MS = 40;
/** A store that nobody looks at lives on for a while, where connections are no matter (HTTP/2 shares one). */
const LINGER_MS = 20_000;

const PARTIAL = "g=meta.k8s.io;v=v1";

/** How many of the collections that are looked at have no connection at the moment. */
export const broken = signal(0);
const reconnecting = new Set<Store>();

function note(store: Store, isBroken: boolean): void {
  if (isBroken) reconnecting.add(store);
  else reconnecting.delete(store);
  broken.value = reconnecting.size;
}

class Store {
  readonly shown: Signal<Collection> = signal({ phase: "loading", items: [] });
  private readonly objects = new Map<string, K8sObject>();
  private users = 0;
  private stop: AbortController | undefined;
  private pending: ReturnType<typeof setTimeout> | undefined;
  private lingering: ReturnType<typeof setTimeout> | undefined;
  private phase: Phase = "loading";
  private error: unknown;

  constructor(
    private readonly path: string,
    private readonly selection: Selection,
  ) {}

  acquire(): void {
    this.users += 1;
    clearTimeout(this.lingering);
    if (this.stop) return;
    this.stop = new AbortController();
    void follow(transport(this.path, this.selection), this.sink(), this.stop.signal);
  }

  release(): void {
    this.users -= 1;
    if (this.users > 0) return;
    const shared = performance.getEntriesByType("navigation").some((entry) => (entry as any).nextHopProtocol === "h2");
    this.lingering = setTimeout(() => this.end(), shared ? LINGER_MS : 0);
  }

  end(): void {
    clearTimeout(this.pending);
    this.pending = undefined;
    this.stop?.abort();
    this.stop = undefined;
    note(this, false);
    this.objects.clear();
    this.phase = "loading";
    this.error = undefined;
    this.shown.value = { phase: "loading", items: [] };
  }

  private sink(): Sink {
    const key = (object: K8sObject) => `${object.metadata.namespace ?? ""}/${object.metadata.name}`;
    return {
      replace: (items) => {
        this.objects.clear();
        for (const item of items) this.objects.set(key(item), trimmed(item));
        this.later();
      },
      put: (object) => {
        this.objects.set(key(object), trimmed(object));
        this.later();
      },
      remove: (object) => {
        this.objects.delete(key(object));
        this.later();
      },
      phase: (phase, error) => {
        if (phase === "forbidden" || phase === "missing") this.objects.clear();
        this.phase = phase;
        this.error = error;
        note(this, phase === "reconnecting");
        this.later();
      },
    };
  }

  private later(): void {
    this.pending ??= setTimeout(() => {
      this.pending = undefined;
      const items = [...this.objects.values()].sort(byName);
      this.shown.value = { phase: this.phase, items, error: this.error };
    }, GATHER_MS);
  }
}

function byName(a: K8sObject, b: K8sObject): number {
  const [x, y] = [a.metadata.namespace ?? "", b.metadata.namespace ?? ""];
  if (x !== y) return x < y ? -1 : 1;
  return a.metadata.name < b.metadata.name ? -1 : a.metadata.name > b.metadata.name ? 1 : 0;
}

/** Without what no page shows and takes most room. */
function trimmed(object: K8sObject): K8sObject {
  delete object.metadata["managedFields"];
  return object;
}

function transport(path: string, selection: Selection): Transport {
  const { fieldSelector, labelSelector, metadataOnly } = selection;
  const accept = (kind: string) => (metadataOnly ? `application/json;as=${kind};${PARTIAL}` : "application/json");
  const url = (query: Record<string, string>) => {
    const all = new URLSearchParams(query);
    if (fieldSelector) all.set("fieldSelector", fieldSelector);
    if (labelSelector) all.set("labelSelector", labelSelector);
    return `${path}?${all}`;
  };
  return {
    async list(query, signal): Promise<Page> {
      const list = await getJson(url(query), { signal, accept: accept("PartialObjectMetadataList") });
      const { resourceVersion, continue: next } = list.metadata;
      return { items: list.items ?? [], resourceVersion, next: next ?? "" };
    },
    async *watch(query, signal): AsyncGenerator<WatchEvent> {
      const response = await send(url(query), { signal, accept: accept("PartialObjectMetadata") });
      for await (const line of lines(response)) if (line) yield JSON.parse(line);
    },
    wait: (milliseconds, signal) =>
      new Promise((resolve) => {
        const timer = setTimeout(done, milliseconds);
        function done() {
          clearTimeout(timer);
          signal.removeEventListener("abort", done);
          globalThis.removeEventListener("online", done);
          resolve();
        }
        signal.addEventListener("abort", done);
        globalThis.addEventListener("online", done); // the network is back: do not wait longer
      }),
  };
}

const stores = new Map<string, Store>();

user.subscribe((who) => {
  if (who) return;
  for (const store of stores.values()) store.end();
  stores.clear();
});

/** Follows a collection for as long as the calling component is shown. Read `.value` to be rendered again by changes. */
export function useCollection(kind: Kind, namespace = "", selection: Selection = {}): Signal<Collection> {
  const { fieldSelector, labelSelector, metadataOnly } = selection;
  const path = listPath(kind, namespace);
  const key = JSON.stringify([path, fieldSelector, labelSelector, metadataOnly]);
  const store = useMemo(() => {
    let found = stores.get(key);
    if (!found) stores.set(key, (found = new Store(path, selection)));
    return found;
  }, [key]);
  useEffect(() => {
    store.acquire();
    return () => store.release();
  }, [store]);
  return store.shown;
}

/** Follows one object; `null` once it is known not to be there. */
export function useObject(kind: Kind, namespace: string, name: string): { object: K8sObject | null | undefined; state: Collection } {
  const state = useCollection(kind, namespace, { fieldSelector: `metadata.name=${name}` }).value;
  const object = state.items.find((item) => item.metadata.name === name);
  return { object: object ?? (state.phase === "live" ? null : undefined), state };
}
