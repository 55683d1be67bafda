// The API server's own figures (/metrics), read while the overview is shown: a few series, differences over time.

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";

import { getText, words } from "./client.ts";
import { user } from "./session.ts";

/** Samples that are kept: half an hour at the usual pace. */
const SAMPLES_MAX = 360;
const EVERY_MS = 5_000;

export interface Sample {
  /** Unix seconds. */
  at: number;
  reads: number;
  writes: number;
  watches: number;
  /** Seconds in all, and requests, of those that are not watches. */
  took: number;
  counted: number;
  residentBytes: number;
  cpuSeconds: number;
}

export interface Figures {
  samples: Sample[];
  error: string;
}

export const figures = signal<Figures>({ samples: [], error: "" });
user.subscribe((who) => {
  if (!who) figures.value = { samples: [], error: "" };
});

const READS = new Set(["GET", "LIST"]);

/** The value and labels of a line of the text format; undefined for comments and what cannot be read. */
export function parseLine(line: string): { name: string; labels: Map<string, string>; value: number } | undefined {
  if (line.startsWith("#")) return undefined;
  const found = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/.exec(line);
  if (!found) return undefined;
  const labels = new Map<string, string>();
  for (const pair of (found[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) labels.set(pair[1]!, pair[2]!);
  return { name: found[1]!, labels, value: Number(found[3]) };
}

export function readSample(text: string, at: number): Sample {
  const sample: Sample = { at, reads: 0, writes: 0, watches: 0, took: 0, counted: 0, residentBytes: 0, cpuSeconds: 0 };
  for (const line of text.split("\n")) {
    const wanted = line.startsWith("apiserver_request_") || line.startsWith("apiserver_longrunning") || line.startsWith("process_");
    const one = wanted ? parseLine(line) : undefined;
    if (!one) continue;
    const verb = one.labels.get("verb") ?? "";
    switch (one.name) {
      case "apiserver_request_total":
        if (READS.has(verb)) sample.reads += one.value;
        else if (!["WATCH", "WATCHLIST", "CONNECT"].includes(verb)) sample.writes += one.value;
        break;
      case "apiserver_request_duration_seconds_sum":
        if (!["WATCH", "WATCHLIST", "CONNECT"].includes(verb)) sample.took += one.value;
        break;
      case "apiserver_request_duration_seconds_count":
        if (!["WATCH", "WATCHLIST", "CONNECT"].includes(verb)) sample.counted += one.value;
        break;
      case "apiserver_longrunning_requests":
        sample.watches += one.value;
        break;
      case "process_resident_memory_bytes":
        sample.residentBytes = one.value;
        break;
      case "process_cpu_seconds_total":
        sample.cpuSeconds = one.value;
        break;
    }
  }
  return sample;
}

async function take(signal: AbortSignal): Promise<void> {
  try {
    const sample = readSample(await getText("/metrics", { signal }), Date.now() / 1000);
    const before = figures.peek().samples;
    // A server that started again counts from zero: what was before says nothing about it.
    const kept = before.length > 0 && before.at(-1)!.counted > sample.counted ? [] : before;
    figures.value = { samples: [...kept, sample].slice(-SAMPLES_MAX), error: "" };
  } catch (error) {
    if (!signal.aborted) figures.value = { ...figures.peek(), error: words(error) };
  }
}

/** Reads the figures for as long as the calling component is shown and the page is looked at. */
export function useFigures(): Figures {
  useEffect(() => {
    const stop = new AbortController();
    let timer: ReturnType<typeof setTimeout>;
    const round = async () => {
      if (document.visibilityState === "visible") await take(stop.signal);
      if (!stop.signal.aborted) timer = setTimeout(round, EVERY_MS);
    };
    void round();
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, []);
  return figures.value;
}

/** Differences per second between neighbours: one value fewer than samples. */
export function perSecond(samples: Sample[], of: (sample: Sample) => number): number[] {
  return samples.slice(1).map((sample, index) => {
    const before = samples[index]!;
    return Math.max(0, of(sample) - of(before)) / Math.max(0.001, sample.at - before.at);
  });
}
