// Lists once, then watches: resumes where a stream ended, and lists again only when the server says 410 (that history is
// gone). Knows no transport and no clock of its own, so that tests can play the server.

import { ApiError } from "./error.ts";

export interface K8sObject {
  apiVersion?: string;
  kind?: string;
  metadata: {
    name: string;
    namespace?: string;
    uid?: string;
    resourceVersion?: string;
    creationTimestamp?: string;
    deletionTimestamp?: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
    ownerReferences?: { kind: string; name: string; uid: string; controller?: boolean; apiVersion: string }[];
    [field: string]: any;
  };
  [field: string]: any;
}

export interface WatchEvent {
  type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR";
  object: any;
}

export interface Page {
  items: K8sObject[];
  resourceVersion: string;
  next: string;
}

export interface Transport {
  list(query: Record<string, string>, signal: AbortSignal): Promise<Page>;
  watch(query: Record<string, string>, signal: AbortSignal): AsyncIterable<WatchEvent>;
  /** Ends early when `signal` aborts. */
  wait(milliseconds: number, signal: AbortSignal): Promise<void>;
}

export type Phase = "loading" | "live" | "reconnecting" | "forbidden" | "missing";

export interface Sink {
  /** All objects there are, in place of what was known. */
  replace(items: K8sObject[]): void;
  put(object: K8sObject): void;
  remove(object: K8sObject): void;
  phase(phase: Phase, error?: unknown): void;
}

const PAGE = "500";
const WAIT_FIRST_MS = 500;
const WAIT_MAX_MS = 15_000;
/** Rights and kinds may come; they are looked for this seldom. */
const WAIT_REFUSED_MS = 30_000;
/** How long the server holds one watch; an ended one is resumed. */
const WATCH_SECONDS = "240";

/** Follows until `signal` aborts; never throws. */
export async function follow(transport: Transport, sink: Sink, signal: AbortSignal): Promise<void> {
  let version = "";
  let failures = 0;
  const ended = () => signal.aborted;
  while (!ended()) {
    try {
      if (!version) {
        version = await listAll(transport, sink, signal);
        failures = 0;
      }
      sink.phase("live");
      const query = { watch: "1", allowWatchBookmarks: "true", resourceVersion: version, timeoutSeconds: WATCH_SECONDS };
      for await (const event of transport.watch(query, signal)) {
        if (event.type === "ERROR") throw statusError(event.object);
        failures = 0;
        version = event.object.metadata.resourceVersion ?? version;
        if (event.type === "DELETED") sink.remove(event.object);
        else if (event.type !== "BOOKMARK") sink.put(event.object);
      }
      if (ended()) return;
      // An end is the server's time limit, most often: go on at once, unless it ends again and again.
      failures += 1;
      if (failures > 1) await transport.wait(backoff(failures - 1), signal);
    } catch (error) {
      if (ended()) return;
      const code = error instanceof ApiError ? error.code : 0;
      if (code === 410) {
        version = "";
        failures += 1;
        if (failures > 1) await transport.wait(backoff(failures - 1), signal);
        continue;
      }
      if (code === 403 || code === 404 || code === 401) {
        version = "";
        sink.phase(code === 404 ? "missing" : "forbidden", error);
        await transport.wait(WAIT_REFUSED_MS, signal);
        continue;
      }
      failures += 1;
      sink.phase("reconnecting", error);
      await transport.wait(backoff(failures), signal);
    }
  }
}

async function listAll(transport: Transport, sink: Sink, signal: AbortSignal): Promise<string> {
  const items: K8sObject[] = [];
  const query: Record<string, string> = { limit: PAGE };
  try {
    for (;;) {
      const page = await transport.list(query, signal);
      items.push(...page.items);
      if (!page.next) {
        sink.replace(items);
        return page.resourceVersion;
      }
      query["continue"] = page.next;
    }
  } catch (error) {
    // The list grew too old between two of its pages: once more, in one piece.
    if (!(error instanceof ApiError && error.code === 410 && query["continue"])) throw error;
    const page = await transport.list({}, signal);
    sink.replace(page.items);
    return page.resourceVersion;
  }
}

function statusError(status: any): ApiError {
  return new ApiError(status?.code ?? 500, status?.reason ?? "", status?.message ?? "the watch failed");
}

/** Doubles from half a second to 15 s. */
export function backoff(failures: number): number {
  return Math.min(WAIT_MAX_MS, WAIT_FIRST_MS * 2 ** (failures - 1));
}
