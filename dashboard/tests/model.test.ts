import { beforeAll, expect, test, vi } from "vitest";

import { quantity, bytes, short } from "../src/model/quantity.ts";
import { podState, requests, workloadState } from "../src/model/status.ts";

beforeAll(() => vi.stubGlobal("document", { visibilityState: "hidden" }));

test("quantities are read with all their suffixes", () => {
  expect(["500m", "2", "1Gi", "1e3", "128974848", "1.5G", "-3", "x", "", undefined].map(quantity)).toEqual([0.5, 2, 2 ** 30, 1000, 128974848, 1.5e9, -3, 0, 0, 0]);
  expect([bytes(0), bytes(8 * 2 ** 20), bytes(1536)]).toEqual(["0 B", "8 MiB", "1.5 KiB"]);
  expect([short(0.126), short(12.34), short(123.4)]).toEqual(["0.13", "12.3", "123"]);
});

const pod = (status: object, more: object = {}) => ({ metadata: { name: "p", ...more }, spec: { containers: [{ name: "a" }] }, status });

test("a pod's state is in kubectl's words", () => {
  const of = (one: ReturnType<typeof pod>) => [podState(one).text, podState(one).tone];
  const running = { ready: true, restartCount: 0, state: { running: {} } };
  expect(of(pod({ phase: "Running", containerStatuses: [running] }))).toEqual(["Running", "ok"]);
  expect(of(pod({ phase: "Running", containerStatuses: [{ ...running, ready: false }] }))).toEqual(["Running", "warn"]);
  expect(of(pod({ phase: "Running", containerStatuses: [{ state: { waiting: { reason: "CrashLoopBackOff" } } }] }))).toEqual(["CrashLoopBackOff", "bad"]);
  expect(of(pod({ phase: "Pending", containerStatuses: [{ state: { waiting: { reason: "ContainerCreating" } } }] }))).toEqual(["ContainerCreating", "info"]);
  expect(of(pod({ phase: "Failed", containerStatuses: [{ state: { terminated: { exitCode: 2 } } }] }))).toEqual(["ExitCode:2", "bad"]);
  expect(of(pod({ phase: "Succeeded", containerStatuses: [{ state: { terminated: { exitCode: 0, reason: "Completed" } } }] }))).toEqual(["Completed", "idle"]);
  expect(of(pod({ phase: "Running" }, { deletionTimestamp: "2026-01-01T00:00:00Z" }))).toEqual(["Terminating", "idle"]);
  expect(of(pod({ phase: "Pending", initContainerStatuses: [{ name: "i", state: { running: {} } }] }))).toEqual(["Init:0/1", "info"]);
});

test("a workload is healthy, updating, degraded or unavailable", () => {
  const of = (spec: object, status: object, generation = 1) => workloadState("Deployment", { metadata: { name: "d", generation }, spec, status }).text;
  expect(of({ replicas: 2 }, { observedGeneration: 1, readyReplicas: 2, updatedReplicas: 2 })).toBe("Healthy");
  expect(of({ replicas: 2 }, { observedGeneration: 1, readyReplicas: 1, updatedReplicas: 2 })).toBe("Degraded");
  expect(of({ replicas: 2 }, { observedGeneration: 1, updatedReplicas: 2 })).toBe("Unavailable");
  expect(of({ replicas: 2 }, { observedGeneration: 1, readyReplicas: 2, updatedReplicas: 2 }, 2)).toBe("Updating");
  expect(of({ replicas: 0 }, { observedGeneration: 1 })).toBe("Scaled to 0");
});

test("what a pod asks for is the sum of its containers, or its largest init container", () => {
  const one = (cpu: string, more: object = {}) => ({ resources: { requests: { cpu } }, ...more });
  const spec = { containers: [one("100m"), one("200m")], initContainers: [one("500m"), one("50m", { restartPolicy: "Always" })] };
  expect(requests({ metadata: { name: "p" }, spec }, "cpu", quantity)).toBeCloseTo(0.5);
});
