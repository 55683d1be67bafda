import { expect, test } from "vitest";

import { ApiError } from "../src/api/error.ts";
import { backoff, follow, type K8sObject, type Page, type Sink, type Transport, type WatchEvent } from "../src/api/watch.ts";

const object = (name: string, version: string): K8sObject => ({ metadata: { name, resourceVersion: version } });
const event = (type: WatchEvent["type"], name: string, version: string): WatchEvent => ({ type, object: object(name, version) });
const gone = () => new ApiError(410, "Expired", "too old resource version");

type Step = { list: Page | Error } | { watch: (WatchEvent | Error)[]; from: string };

/** Plays the steps of a server in order, and fails on a request that is not the next one. Ends after the last. */
async function play(steps: Step[]): Promise<{ log: string[]; waits: number[] }> {
  const stop = new AbortController();
  const log: string[] = [];
  const waits: number[] = [];
  const next = () => {
    const step = steps.shift();
    if (!step) {
      stop.abort();
      throw new Error("over");
    }
    return step;
  };
  const transport: Transport = {
    async list(query) {
      const step = next();
      if (!("list" in step)) throw new Error(`a list was not due: ${JSON.stringify(query)}`);
      log.push(`LIST${query["continue"] ? ` ${query["continue"]}` : ""}${query["limit"] ? "" : " whole"}`);
      if (step.list instanceof Error) throw step.list;
      return step.list;
    },
    async *watch(query) {
      const step = next();
      if (!("watch" in step)) throw new Error(`a watch was not due: ${JSON.stringify(query)}`);
      expect(query["resourceVersion"]).toBe(step.from);
      log.push(`WATCH ${query["resourceVersion"]}`);
      for (const one of step.watch) {
        if (one instanceof Error) throw one;
        yield one;
      }
    },
    wait: async (milliseconds) => void waits.push(milliseconds),
  };
  const names = (items: K8sObject[]) => items.map((item) => item.metadata.name).join(",");
  const sink: Sink = {
    replace: (items) => log.push(`= ${names(items)}`),
    put: (item) => log.push(`+ ${item.metadata.name}`),
    remove: (item) => log.push(`- ${item.metadata.name}`),
    phase: (phase) => log.at(-1) !== phase && log.push(phase),
  };
  await follow(transport, sink, stop.signal);
  return { log, waits };
}

const page = (version: string, ...names: string[]): Page => ({ items: names.map((name) => object(name, "1")), resourceVersion: version, next: "" });

test("lists once, then watches from the list's version", async () => {
  const { log } = await play([{ list: page("5", "a") }, { watch: [event("ADDED", "b", "6"), event("DELETED", "a", "7")], from: "5" }]);
  expect(log.slice(0, 6)).toEqual(["LIST", "= a", "live", "WATCH 5", "+ b", "- a"]);
});

test("a watch that ends is resumed where it ended, at once and with no list", async () => {
  const { log, waits } = await play([
    { list: page("5") },
    { watch: [event("ADDED", "b", "6"), event("BOOKMARK", "", "9")], from: "5" },
    { watch: [event("MODIFIED", "b", "12")], from: "9" },
    { watch: [], from: "12" },
  ]);
  expect(log.filter((line) => line === "LIST").length).toBe(1);
  expect(log).toContain("WATCH 12");
  expect(waits[0] ?? 0).toBeLessThanOrEqual(backoff(1));
});

test("a broken connection is tried again with growing pauses, still with no list", async () => {
  const down = new TypeError("Failed to fetch");
  const { log, waits } = await play([{ list: page("5") }, { watch: [down], from: "5" }, { watch: [down], from: "5" }, { watch: [down], from: "5" }]);
  expect(log.filter((line) => line === "LIST").length).toBe(1);
  expect(log).toContain("reconnecting");
  expect(waits.slice(0, 3)).toEqual([500, 1000, 2000]);
});

test("only 410 leads to another list, whether by its code or as an event", async () => {
  const { log } = await play([
    { list: page("5", "a") },
    { watch: [{ type: "ERROR", object: { code: 410, reason: "Expired" } }], from: "5" },
    { list: page("20", "c") },
    { watch: [gone()], from: "20" },
    { list: page("30", "d") },
    { watch: [], from: "30" },
  ]);
  expect(log.filter((line) => line === "LIST").length).toBe(3);
  expect(log).toContain("= d");
});

test("another error in the stream resumes at the last version", async () => {
  const { log } = await play([
    { list: page("5") },
    { watch: [event("ADDED", "a", "8"), { type: "ERROR", object: { code: 500, message: "x" } }], from: "5" },
    { watch: [], from: "8" },
  ]);
  expect(log.filter((line) => line === "LIST").length).toBe(1);
});

test("long lists come in pages; one that grew too old between them comes whole", async () => {
  const first: Page = { ...page("5", "a"), next: "token" };
  const { log } = await play([{ list: first }, { list: page("5", "b") }, { watch: [], from: "5" }]);
  expect(log.slice(0, 3)).toEqual(["LIST", "LIST token", "= a,b"]);
  const expired = await play([{ list: { ...page("5", "a"), next: "token" } }, { list: gone() }, { list: page("9", "a", "b") }, { watch: [], from: "9" }]);
  expect(expired.log.slice(0, 4)).toEqual(["LIST", "LIST token", "LIST whole", "= a,b"]);
});

test("what is forbidden is said, and looked for again seldom", async () => {
  const { log, waits } = await play([{ list: new ApiError(403, "Forbidden", "no") }, { list: page("3") }, { watch: [], from: "3" }]);
  expect(log[1]).toBe("forbidden");
  expect(waits[0]).toBe(30_000);
  expect(log).toContain("live");
});

test("pauses stop growing at 15 s", () => {
  expect([1, 2, 5, 6, 50].map(backoff)).toEqual([500, 1000, 8000, 15000, 15000]);
});
