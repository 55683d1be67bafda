// The output of a container: followed, resumed after a break, searched. Lines are drawn by hand: there may be thousands.

import { useEffect, useRef, useState } from "preact/hooks";

import { lines, send, words } from "../api/client.ts";
import { objectPath, POD } from "../api/kinds.ts";
import { backoff } from "../api/watch.ts";
import { Icon } from "./icons.tsx";

const FIRST_LINES = 1000;
const LINES_MAX = 5000;

export interface LogLine {
  at: string;
  text: string;
}

const ESCAPES = /\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f]/g;

/** A line with the time that the server puts before it. */
export function readLine(line: string): LogLine {
  const space = line.indexOf(" ");
  const at = space > 0 ? line.slice(0, space) : "";
  if (!/^\d{4}-\d\d-\d\dT/.test(at)) return { at: "", text: line.replace(ESCAPES, "") };
  return { at, text: line.slice(space + 1).replace(ESCAPES, "") };
}

/** A time whose text sorts: the server leaves out zeros at the end. */
function sortable(at: string): string {
  const [whole = "", fraction = ""] = at.replace("Z", "").split(".");
  return `${whole}.${fraction.padEnd(9, "0")}`;
}

/** Knows where a log was left, so that a resumed one goes on there: `sinceTime` is in whole seconds, and lines share times. */
export class LogPlace {
  /** The time of the last line, as the server wrote it; empty before the first. */
  last = "";
  private shown = 0;
  private toSkip = 0;
  private catchingUp = false;

  /** A stream begins: at `last`, if there is one. */
  resume(): void {
    this.catchingUp = this.last !== "";
    this.toSkip = this.shown;
  }

  /** Whether a line is new. */
  take(at: string): boolean {
    if (this.catchingUp && at) {
      const [now, then] = [sortable(at), sortable(this.last)];
      if (now < then) return false;
      if (now === then && this.toSkip > 0) {
        this.toSkip -= 1;
        return false;
      }
      this.catchingUp = now === then;
    }
    if (at === this.last) this.shown += 1;
    else if (at) [this.last, this.shown] = [at, 1];
    return true;
  }
}

interface Source {
  namespace: string;
  pod: string;
  container: string;
  previous: boolean;
}

/** Reads until `signal` aborts or the log has an end. */
async function read(source: Source, signal: AbortSignal, on: { line(line: LogLine): void; state(text: string): void }): Promise<void> {
  const place = new LogPlace();
  let failures = 0;
  const path = `${objectPath(POD, source.namespace, source.pod)}/log`;
  while (!signal.aborted) {
    const query = new URLSearchParams({ container: source.container, timestamps: "true" });
    if (source.previous) query.set("previous", "true");
    else query.set("follow", "true");
    if (place.last) query.set("sinceTime", place.last);
    else query.set("tailLines", String(FIRST_LINES));
    let news = false;
    try {
      on.state(source.previous ? "The container before" : "Live");
      const response = await send(`${path}?${query}`, { signal, accept: "*/*" });
      place.resume();
      for await (const raw of lines(response)) {
        const line = readLine(raw);
        if (!place.take(line.at)) continue;
        news = true;
        failures = 0;
        on.line(line);
      }
      if (source.previous) return;
      on.state("Ended");
    } catch (error) {
      if (signal.aborted) return;
      on.state(words(error));
    }
    // The container may start again, or the connection broke: look once more, ever less often.
    failures += news ? 0 : 1;
    const pause = Math.max(2000, backoff(failures + 1));
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, pause);
      signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
    });
  }
}

function element(line: LogLine, stamps: boolean): HTMLElement {
  const paragraph = document.createElement("p");
  if (stamps && line.at) {
    const time = document.createElement("time");
    time.textContent = line.at.slice(0, 23).replace("T", " ");
    paragraph.append(time);
  }
  paragraph.append(line.text);
  return paragraph;
}

export function Logs({ namespace, pod, containers, first, restarted }: { namespace: string; pod: string; containers: string[]; first: string; restarted: boolean }) {
  const [container, setContainer] = useState(first);
  const [previous, setPrevious] = useState(false);
  const [stamps, setStamps] = useState(false);
  const [wraps, setWraps] = useState(true);
  const [pinned, setPinned] = useState(true);
  const [filter, setFilter] = useState("");
  const [state, setState] = useState("Connecting");
  const [count, setCount] = useState(0);
  const host = useRef<HTMLDivElement>(null);
  const kept = useRef<LogLine[]>([]);
  const look = useRef({ stamps, filter: filter.toLowerCase(), pinned });
  look.current = { stamps, filter: filter.toLowerCase(), pinned };
  const matches = (line: LogLine) => !look.current.filter || line.text.toLowerCase().includes(look.current.filter);

  const redraw = () => {
    const fragment = document.createDocumentFragment();
    for (const line of kept.current) if (matches(line)) fragment.append(element(line, look.current.stamps));
    host.current!.replaceChildren(fragment);
    host.current!.scrollTop = host.current!.scrollHeight;
  };
  useEffect(redraw, [stamps, filter]);

  useEffect(() => {
    kept.current = [];
    host.current!.replaceChildren();
    const stop = new AbortController();
    let waiting: LogLine[] = [];
    let timer: ReturnType<typeof setTimeout> | undefined;
    const draw = () => {
      timer = undefined;
      kept.current = [...kept.current, ...waiting].slice(-LINES_MAX);
      const box = host.current;
      if (!box) return;
      box.append(...waiting.filter(matches).map((line) => element(line, look.current.stamps)));
      while (box.childElementCount > LINES_MAX) box.firstElementChild!.remove();
      waiting = [];
      setCount(kept.current.length);
      if (look.current.pinned) box.scrollTop = box.scrollHeight;
    };
    void read({ namespace, pod, container, previous }, stop.signal, {
      line: (line) => {
        waiting.push(line);
        if (waiting.length > LINES_MAX) waiting.shift();
        timer ??= setTimeout(draw, 50);
      },
      state: setState,
    });
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [namespace, pod, container, previous]);

  const scrolled = () => {
    const box = host.current!;
    setPinned(box.scrollHeight - box.scrollTop - box.clientHeight < 30);
  };
  const toEnd = () => {
    host.current!.scrollTop = host.current!.scrollHeight;
    setPinned(true);
  };
  return (
    <section class="console" aria-label="Logs">
      <div class="toolbar">
        {containers.length > 1 && (
          <select class="select" aria-label="Container" value={container} onChange={(event) => setContainer(event.currentTarget.value)}>
            {containers.map((name) => <option key={name}>{name}</option>)}
          </select>
        )}
        <label class="search">
          <Icon name="search" />
          <span class="visually-hidden">Search in the log</span>
          <input class="field" type="search" placeholder="Only lines with…" value={filter} onInput={(event) => setFilter(event.currentTarget.value)} />
        </label>
        <span class="grow" />
        <span class="state num" role="status">{state} · {count} {count === 1 ? "line" : "lines"}</span>
        {(restarted || previous) && (
          <button class="button" aria-pressed={previous} onClick={() => setPrevious(!previous)}>Previous</button>
        )}
        <button class="button icon-only" aria-pressed={stamps} onClick={() => setStamps(!stamps)} title="Show times" aria-label="Show times"><Icon name="clock" /></button>
        <button class="button icon-only" aria-pressed={wraps} onClick={() => setWraps(!wraps)} title="Wrap long lines" aria-label="Wrap long lines"><Icon name="wrap" /></button>
        <button class="button icon-only" aria-pressed={pinned} onClick={toEnd} title="Follow the end" aria-label="Follow the end"><Icon name="down" /></button>
      </div>
      <div class={`log${wraps ? " wraps" : ""}`} ref={host} onScroll={scrolled} tabIndex={0} role="log" aria-label={`Output of ${container}`} data-log={container} />
    </section>
  );
}
