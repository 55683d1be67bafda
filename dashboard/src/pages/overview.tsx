// How the whole is: the verdict first, then nodes, pods, workloads, the control plane, and what went wrong lately.

import type { ComponentChildren } from "preact";
import { useMemo } from "preact/hooks";

import { perSecond, useFigures } from "../api/metrics.ts";
import { DEPLOYMENT, EVENT, NODE, POD } from "../api/kinds.ts";
import { usePlane, type Member, type Plane } from "../api/plane.ts";
import { useCollection, type Collection } from "../api/store.ts";
import { bytes, short } from "../model/quantity.ts";
import { eventTime, nodeState, podState, workloadState, type Tone } from "../model/status.ts";
import { Badge, Card, Empty, Loading, Note, Standstill } from "../parts/basics.tsx";
import { Chart } from "../parts/chart.tsx";
import { EventList, newestFirst } from "../parts/events.tsx";
import { Icon, type IconName } from "../parts/icons.tsx";
import { Usage } from "./nodes.tsx";

const TONES: Tone[] = ["ok", "info", "warn", "bad", "idle"];

export function Overview() {
  const nodes = useCollection(NODE).value;
  const pods = useCollection(POD).value;
  const deployments = useCollection(DEPLOYMENT).value;
  const events = useCollection(EVENT, "", { fieldSelector: "type=Warning" }).value;
  const plane = usePlane();
  const recent = useMemo(() => newestFirst(events.items), [events]);
  return (
    <>
      <Verdict nodes={nodes} pods={pods} deployments={deployments} plane={plane} />
      <div class="grid">
        <Figure title="Nodes" icon="nodes" href="#/nodes" state={nodes} good="ready" tones={nodes.items.map((node) => nodeState(node).tone)} words={{ ok: "ready", warn: "with a problem", bad: "not ready" }} />
        <Figure title="Pods" icon="pods" href="#/pods" state={pods} good="running" tones={pods.items.map((pod) => podState(pod).tone)} words={{ ok: "running", info: "starting", warn: "not ready", bad: "failing", idle: "ended" }} />
        <Figure title="Deployments" icon="workloads" href="#/workloads" state={deployments} good="healthy" tones={deployments.items.map((one) => workloadState("Deployment", one).tone)} words={{ ok: "healthy", info: "updating", warn: "degraded", bad: "unavailable", idle: "scaled to 0" }} />
        <Warnings events={events} />
        <div class="span-7"><ControlPlane plane={plane} /></div>
        <div class="span-5">
          <Card title="Room in the cluster">
            {nodes.items.length > 0 ? <Usage nodes={nodes.items} pods={pods.items} /> : <Standstill state={nodes} what="nodes" />}
          </Card>
        </div>
        <Figures />
        <div class="span-12">
          <Card title="Recent warnings" tools={<a class="link small" href="#/events">All events</a>}>
            {recent.length > 0 ? <EventList events={recent.slice(0, 8)} about /> : events.phase === "live" ? <Empty icon="check" title="No warnings">Nothing has complained in the last hour.</Empty> : <Standstill state={events} what="events" />}
          </Card>
        </div>
      </div>
    </>
  );
}

function Verdict({ nodes, pods, deployments, plane }: { nodes: Collection; pods: Collection; deployments: Collection; plane: Plane }) {
  const problems: [Tone, string][] = [];
  const names = (items: { metadata: { name: string } }[]) => `${items.slice(0, 3).map((item) => item.metadata.name).join(", ")}${items.length > 3 ? ` and ${items.length - 3} more` : ""}`;
  if (plane.error) problems.push(["bad", `The API server does not say how it is: ${plane.error}`]);
  const failed = plane.checks.filter((check) => !check.ok).map((check) => check.name);
  if (failed.length > 0) problems.push(["bad", `The API server is not ready: ${failed.join(", ")}`]);
  const down = nodes.items.filter((node) => nodeState(node).tone === "bad");
  if (down.length > 0) problems.push(["bad", `Not ready: ${names(down)}`]);
  if (typeof plane.members === "object" && !plane.members.members.some((member) => member.isLeader)) problems.push(["bad", "No server leads the store: writes wait"]);
  const out = deployments.items.filter((one) => workloadState("Deployment", one).tone === "bad");
  if (out.length > 0) problems.push(["warn", `No pod is ready of ${names(out)}`]);
  const failing = pods.items.filter((pod) => podState(pod).tone === "bad");
  if (failing.length > 0) problems.push(["warn", `${failing.length} ${failing.length === 1 ? "pod fails" : "pods fail"}: ${names(failing)}`]);
  const known = plane.checks.length > 0 || plane.error !== "";
  const tone: Tone = problems.some(([one]) => one === "bad") ? "bad" : problems.length > 0 ? "warn" : known ? "ok" : "idle";
  const said: Record<string, string> = { ok: "All is well", warn: "Something needs a look", bad: "Something is broken", idle: "Looking…" };
  return (
    <section class="card verdict" data-verdict={tone}>
      <span class={`disc ${tone}`}><Icon name={tone === "ok" ? "check" : tone === "idle" ? "clock" : "alert"} /></span>
      <div class="grow">
        <strong role="status">{said[tone]}</strong>
        {problems.length > 0 ? (
          <ul>{problems.map(([, text]) => <li key={text}>{text}</li>)}</ul>
        ) : (
          <p class="muted small">{tone === "ok" ? "Nodes are ready, deployments have their pods, the API server is ready." : "Asking the API server."}</p>
        )}
      </div>
      {plane.version && <span class="muted small nowrap num version">{plane.version}</span>}
    </section>
  );
}

function Figure({ title, icon, href, state, good, tones, words }: { title: string; icon: IconName; href: string; state: Collection; good: string; tones: Tone[]; words: Partial<Record<Tone, string>> }) {
  const counts = TONES.map((tone) => [tone, tones.filter((one) => one === tone).length] as const).filter(([, count]) => count > 0);
  const well = tones.filter((tone) => tone === "ok").length;
  return (
    <a class="card figure-card span-3" href={href} data-figure={title}>
      <div class="label"><Icon name={icon} />{title}</div>
      {state.phase === "forbidden" ? <p class="muted small">You may not list them in all namespaces.</p> : (
        <>
          <div class="value">{state.phase === "loading" ? "–" : well}<span>/ {state.items.length} {good}</span></div>
          <div class="meter">{counts.map(([tone, count]) => <i key={tone} class={tone} style={{ flexGrow: count }} />)}</div>
          <Legend>{counts.map(([tone, count]) => <span key={tone}><i class={tone} />{count} {words[tone] ?? tone}</span>)}</Legend>
        </>
      )}
    </a>
  );
}

const Legend = ({ children }: { children: ComponentChildren }) => <div class="legend num">{children}</div>;

/** Warnings by age, over the hour that events are kept. */
function Warnings({ events }: { events: Collection }) {
  const parts = 12;
  const bars = useMemo(() => {
    const counts = Array.from({ length: parts }, () => 0);
    for (const event of events.items) {
      const part = parts - 1 - Math.floor((Date.now() - Date.parse(eventTime(event))) / 300_000);
      if (part >= 0 && part < parts) counts[part]! += 1;
    }
    return counts;
  }, [events]);
  const most = Math.max(1, ...bars);
  return (
    <a class="card figure-card span-3" href="#/events" data-figure="Warnings">
      <div class="label"><Icon name="alert" />Warnings</div>
      {events.phase === "forbidden" ? <p class="muted small">You may not list events in all namespaces.</p> : (
        <>
          <div class="value">{events.phase === "loading" ? "–" : events.items.length}<span>in the last hour</span></div>
          <div class="bars" aria-hidden="true">{bars.map((count, index) => <i key={index} class={count > 0 ? "warn" : "none"} style={{ height: `${count > 0 ? Math.max(14, (count / most) * 100) : 8}%` }} />)}</div>
        </>
      )}
    </a>
  );
}

function ControlPlane({ plane }: { plane: Plane }) {
  return (
    <Card title="Control plane" tools={plane.answeredMs > 0 && <span class="muted small num">answers in {short(plane.answeredMs)} ms</span>}>
      {plane.error && <Note tone="bad">{plane.error}</Note>}
      {!plane.error && plane.checks.length === 0 && <Loading rows={3} />}
      <div class="stack">
        <div class="checks" data-checks={plane.checks.length}>
          {plane.checks.map((check) => <Badge key={check.name} state={{ text: check.name.replace("poststarthook/", ""), tone: check.ok ? "ok" : "bad" }} />)}
        </div>
        <Members plane={plane} />
      </div>
    </Card>
  );
}

function Members({ plane }: { plane: Plane }) {
  const { members } = plane;
  if (members === undefined) return null;
  if (typeof members === "string") return <p class="muted small">{members}</p>;
  const behind = Math.max(0, members.raftIndex - members.appliedIndex);
  return (
    <div class="members">
      <p class="muted small num">
        Store: {members.members.length === 1 ? "one member" : `${members.members.length} members`}, log entry {members.raftIndex.toLocaleString("en")}
        {behind > 0 ? `; this server is ${behind} behind in applying it` : ", all applied here"}
      </p>
      <ul>
        {members.members.map((member) => (
          <li key={member.id}>
            <span class={`mark ${member.isLeader ? "leads" : ""}`} aria-hidden="true" />
            <strong>{member.name || "this server"}</strong>
            <span class="muted small grow num break">{hosts(member)}</span>
            <Badge state={role(member)} />
          </li>
        ))}
      </ul>
    </div>
  );
}

const hosts = (member: Member) => member.peerUrls.map((url) => url.replace(/^https?:\/\//, "")).join(", ");

function role(member: Member): { text: string; tone: Tone } {
  if (member.isLeader) return { text: "Leader", tone: "ok" };
  if (member.isLearner) return { text: "Catching up", tone: "info" };
  return member.name || member.peerUrls.length === 0 ? { text: "Follower", tone: "idle" } : { text: "Not started", tone: "warn" };
}

/** What the server's own figures say, as they change. */
function Figures() {
  const { samples, error } = useFigures();
  const times = samples.slice(1).map((sample) => sample.at);
  const requests = useMemo(() => [times, perSecond(samples, (sample) => sample.reads), perSecond(samples, (sample) => sample.writes)], [samples]);
  const took = useMemo(() => {
    const seconds = perSecond(samples, (sample) => sample.took);
    const counts = perSecond(samples, (sample) => sample.counted);
    return [times, seconds.map((one, index) => (counts[index]! > 0 ? (one / counts[index]!) * 1000 : 0))];
  }, [samples]);
  const memory = useMemo(() => [samples.map((sample) => sample.at), samples.map((sample) => sample.residentBytes)], [samples]);
  if (error && samples.length === 0) return <div class="span-12"><Card title="Figures"><p class="muted small">{error}</p></Card></div>;
  const ready = samples.length > 2;
  return (
    <>
      <div class="span-4">
        <Card title="Requests a second" tools={<Legend><span><i style={{ background: "var(--chart-1)" }} />reads</span><span><i style={{ background: "var(--chart-2)" }} />writes</span></Legend>}>
          {ready ? <Chart label="Requests a second" lines={[{ label: "reads", colour: "chart-1" }, { label: "writes", colour: "chart-2" }]} data={requests} say={short} /> : <Gathering />}
        </Card>
      </div>
      <div class="span-4">
        <Card title="Time of a request" tools={<span class="muted small">mean</span>}>
          {ready ? <Chart label="Mean time of a request" lines={[{ label: "mean", colour: "chart-3" }]} data={took} say={(value) => `${short(value)} ms`} /> : <Gathering />}
        </Card>
      </div>
      <div class="span-4">
        <Card title="Memory of the server" tools={<span class="muted small num">{bytes(samples.at(-1)?.residentBytes ?? 0)}</span>}>
          {ready ? <Chart label="Resident memory" lines={[{ label: "resident", colour: "chart-1" }]} data={memory} say={bytes} binary /> : <Gathering />}
        </Card>
      </div>
    </>
  );
}

const Gathering = () => <div class="chart-wait">Gathering…</div>;
