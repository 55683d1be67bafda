import { beforeAll, expect, test, vi } from "vitest";

beforeAll(() => {
  vi.stubGlobal("document", { visibilityState: "hidden" });
  vi.stubGlobal("sessionStorage", { getItem: () => null, setItem: () => {}, removeItem: () => {} });
});

test("lines come whole, however the bytes are cut", async () => {
  const { lines } = await import("../src/api/client.ts");
  const bytes = new TextEncoder().encode("one\ntwö\n\nlast");
  const cut = new ReadableStream({
    start(controller) {
      for (const byte of bytes) controller.enqueue(Uint8Array.of(byte));
      controller.close();
    },
  });
  const seen: string[] = [];
  for await (const line of lines(new Response(cut))) seen.push(line);
  expect(seen).toEqual(["one", "twö", "", "last"]);
});

test("metrics are read by name and labels", async () => {
  const { parseLine, perSecond, readSample } = await import("../src/api/metrics.ts");
  expect(parseLine('a_total{verb="GET",path="x\\"y"} 3')).toEqual({ name: "a_total", labels: new Map([["verb", "GET"], ["path", 'x\\"y']]), value: 3 });
  const text = ["# HELP", 'apiserver_request_total{verb="GET"} 10', 'apiserver_request_total{verb="POST"} 4', 'apiserver_request_total{verb="WATCH"} 9', "process_resident_memory_bytes 1e6"].join("\n");
  const first = readSample(text, 100);
  expect([first.reads, first.writes, first.residentBytes]).toEqual([10, 4, 1e6]);
  expect(perSecond([first, { ...first, at: 110, reads: 40 }], (sample) => sample.reads)).toEqual([3]);
});

test("managed fields are cut out of a document, and nothing else", async () => {
  const { withoutManagedFields } = await import("../src/api/act.ts");
  const yaml = "apiVersion: v1\nmetadata:\n  managedFields:\n  - apiVersion: v1\n    fieldsV1:\n      f:data: {}\n  name: x\n  namespace: y\ndata:\n  a: b\n";
  expect(withoutManagedFields(yaml)).toBe("apiVersion: v1\nmetadata:\n  name: x\n  namespace: y\ndata:\n  a: b\n");
});

test("a token is carried as base64url without padding", async () => {
  const { base64url, outcome } = await import("../src/api/exec.ts");
  expect(base64url("a?>é~~")).toBe(Buffer.from("a?>é~~").toString("base64url"));
  expect([outcome('{"status":"Success"}'), outcome('{"status":"Failure","message":"no"}'), outcome("x")]).toEqual(["", "no", "x"]);
});

test("health lines are read", async () => {
  const { readChecks } = await import("../src/api/plane.ts");
  expect(readChecks("[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed\n")).toEqual([{ name: "ping", ok: true }, { name: "etcd", ok: false }]);
});

test("a resumed log shows every line once, also lines of one time", async () => {
  const { LogPlace, readLine } = await import("../src/parts/logs.tsx");
  const place = new LogPlace();
  const taken = (...times: string[]) => times.map((at) => place.take(at));
  place.resume();
  expect(taken("2026-01-01T00:00:01.5Z", "2026-01-01T00:00:01.52Z", "2026-01-01T00:00:01.52Z")).toEqual([true, true, true]);
  place.resume();
  const again = taken("2026-01-01T00:00:01.5Z", "2026-01-01T00:00:01.52Z", "2026-01-01T00:00:01.52Z", "2026-01-01T00:00:01.52Z", "2026-01-01T00:00:01.521Z");
  expect(again).toEqual([false, false, false, true, true]);
  expect(readLine("2026-01-01T00:00:01.5Z \x1b[31mred\x1b[0m")).toEqual({ at: "2026-01-01T00:00:01.5Z", text: "red" });
  expect(readLine("no time")).toEqual({ at: "", text: "no time" });
});
