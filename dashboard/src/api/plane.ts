// The control plane as it tells of itself: /readyz, /version, and the members of the store (what `mainstay status` reads).

import { useEffect, useState } from "preact/hooks";

import { getJson, getText, words } from "./client.ts";
import { ApiError } from "./error.ts";

const EVERY_MS = 5_000;

export interface Check {
  name: string;
  ok: boolean;
}

export interface Member {
  id: string;
  name: string;
  peerUrls: string[];
  clientUrls: string[];
  isLearner: boolean;
  isLeader: boolean;
}

export interface Members {
  members: Member[];
  raftIndex: number;
  appliedIndex: number;
}

/** `[+]name ok` and `[-]name failed` lines. */
export function readChecks(text: string): Check[] {
  return text.split("\n").flatMap((line) => {
    const found = /^\[([+-])\](\S+)/.exec(line);
    return found ? [{ name: found[2]!, ok: found[1] === "+" }] : [];
  });
}

async function checks(): Promise<Check[]> {
  try {
    return readChecks(await getText("/readyz?verbose"));
  } catch (error) {
    // A server that is not ready says so with code 500 and the same lines.
    if (error instanceof ApiError && error.message.startsWith("[")) return readChecks(error.message);
    throw error;
  }
}

/** Members, or in words why they are not told: no right, or another server than `mainstay up` and `mainstay server`. */
async function members(): Promise<Members | string> {
  try {
    return await getJson("/mainstay/v1/servers");
  } catch (error) {
    if (error instanceof ApiError && error.code === 403) return "You have no right to see the members of the store.";
    if (error instanceof ApiError && error.code === 404) return "The store is a separate service: ask it for its members.";
    return words(error);
  }
}

export interface Plane {
  checks: Check[];
  members: Members | string | undefined;
  version: string;
  /** How long the last health question took, milliseconds. */
  answeredMs: number;
  error: string;
}

/** Asks again and again for as long as the calling component is shown and the page is looked at. */
export function usePlane(): Plane {
  const [plane, set] = useState<Plane>({ checks: [], members: undefined, version: "", answeredMs: 0, error: "" });
  useEffect(() => {
    let ended = false;
    let timer: ReturnType<typeof setTimeout>;
    let version = "";
    const round = async () => {
      if (document.visibilityState === "visible") {
        try {
          const began = performance.now();
          const found = await checks();
          const answeredMs = performance.now() - began;
          version ||= (await getJson("/version")).gitVersion ?? "";
          const list = await members();
          if (!ended) set({ checks: found, members: list, version, answeredMs, error: "" });
        } catch (error) {
          if (!ended) set((before) => ({ ...before, error: words(error) }));
        }
      }
      if (!ended) timer = setTimeout(round, EVERY_MS);
    };
    void round();
    return () => {
      ended = true;
      clearTimeout(timer);
    };
  }, []);
  return plane;
}
