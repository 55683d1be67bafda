// The machines of the cluster, and one of them.

import { cordon } from "../api/act.ts";
import { useAllowed } from "../api/access.ts";
import { NODE, pageOf, POD } from "../api/kinds.ts";
import { useCollection, useObject, type Collection } from "../api/store.ts";
import type { K8sObject } from "../api/watch.ts";
import { bytes, cores, percent, quantity, short } from "../model/quantity.ts";
import { isActive, nodeState, requests } from "../model/status.ts";
import { Age, Badge, Card, Empty, Facts, Loading, Note, Tags } from "../parts/basics.tsx";
import { ask } from "../parts/dialog.tsx";
import { ObjectEvents } from "../parts/events.tsx";
import { Icon } from "../parts/icons.tsx";
import { nameColumn, Table, type Column } from "../parts/table.tsx";
import { Yaml } from "../parts/yaml.tsx";
import { route } from "../router.ts";
import { PodTable } from "./pods.tsx";

const page = (node: K8sObject) => pageOf(NODE, undefined, node.metadata.name);
const address = (node: K8sObject) => node["status"]?.addresses?.find((one: any) => one.type === "InternalIP")?.address ?? "";

const COLUMNS: Column[] = [
  nameColumn(page),
  { title: "Status", class: "state", sort: (node) => nodeState(node).text, cell: (node) => <NodeBadges node={node} /> },
  { title: "Roles", cell: (node) => nodeState(node).roles.join(", ") },
  { title: "Address", class: "num", cell: address },
  { title: "CPU", class: "num", sort: (node) => quantity(node["status"]?.allocatable?.cpu), cell: (node) => cores(quantity(node["status"]?.allocatable?.cpu)) },
  { title: "Memory", class: "num", sort: (node) => quantity(node["status"]?.allocatable?.memory), cell: (node) => bytes(quantity(node["status"]?.allocatable?.memory)) },
  { title: "Version", cell: (node) => node["status"]?.nodeInfo?.kubeletVersion },
  { title: "Age", class: "num", sort: (node) => -Date.parse(node.metadata.creationTimestamp ?? ""), cell: (node) => <Age at={node.metadata.creationTimestamp} /> },
];

const NodeBadges = ({ node }: { node: K8sObject }) => {
  const state = nodeState(node);
  return (
    <span class="row wrap">
      <Badge state={state} />
      {state.problems.map((problem) => <Badge key={problem} state={{ text: problem, tone: "bad" }} />)}
    </span>
  );
};

export function Nodes() {
  const state = useCollection(NODE).value;
  return (
    <>
      <div class="page-head">
        <div class="title">
          <h1>Nodes</h1>
          <p>The machines that run pods.</p>
        </div>
      </div>
      <Table state={state} columns={COLUMNS} what="nodes" href={page} />
    </>
  );
}

/** What the pods of some nodes ask for, of what there is. */
export function Usage({ nodes, pods }: { nodes: K8sObject[]; pods: K8sObject[] }) {
  const active = pods.filter(isActive);
  const sum = (items: K8sObject[], of: (item: K8sObject) => number) => items.reduce((all, item) => all + of(item), 0);
  const amount = (name: string) => sum(nodes, (node) => quantity(node["status"]?.allocatable?.[name]));
  const lines: [string, number, number, (value: number) => string][] = [
    ["CPU asked for", sum(active, (pod) => requests(pod, "cpu", quantity)), amount("cpu"), cores],
    ["Memory asked for", sum(active, (pod) => requests(pod, "memory", quantity)), amount("memory"), bytes],
    ["Pods", active.length, amount("pods"), short],
  ];
  return (
    <div class="usage">
      {lines.map(([title, part, whole, say]) => {
        const share = percent(part, whole);
        return (
          <div key={title}>
            <div class="head">
              <span>{title}</span>
              <span class="muted num">{say(part)} of {say(whole)} · {share} %</span>
            </div>
            <div class="meter" role="meter" aria-label={title} aria-valuenow={share} aria-valuemin={0} aria-valuemax={100}>
              <i class={share > 95 ? "bad" : share > 80 ? "warn" : "accent"} style={{ width: `${Math.min(100, share)}%` }} />
            </div>
          </div>
        );
      })}
    </div>
  );
}

export function NodePage({ name }: { name: string }) {
  const { object: node, state } = useObject(NODE, "", name);
  const pods = useCollection(POD, "", { fieldSelector: `spec.nodeName=${name}` }).value;
  const mayChange = useAllowed({ verb: "patch", kind: NODE, name });
  if (!node) {
    if (node === null || state.phase === "forbidden") return <Empty icon="nodes" title={node === null ? "There is no such node" : "You may not see this node"} />;
    return <Card><Loading rows={6} /></Card>;
  }
  const tab = route.value.path[2] ?? "";
  const closed = node["spec"]?.unschedulable === true;
  const askCordon = () =>
    ask({
      title: closed ? `Let new pods onto ${name}?` : `Keep new pods off ${name}?`,
      text: closed ? "The scheduler places pods there again." : "Pods that run there go on; no new ones are placed there.",
      button: closed ? "Uncordon" : "Cordon",
      done: `Node ${name} is ${closed ? "open" : "closed"} for new pods.`,
      act: () => cordon(NODE, node, !closed),
    });
  const base = page(node);
  const tabs = [["", "Summary"], ["events", "Events"], ["yaml", "YAML"]] as const;
  return (
    <>
      <div class="page-head">
        <div class="title">
          <div class="row wrap">
            <h1>{name}</h1>
            <NodeBadges node={node} />
          </div>
          <p>Node at {address(node)}, <Age at={node.metadata.creationTimestamp} /> old</p>
        </div>
        {mayChange && <button class="button" onClick={askCordon}><Icon name={closed ? "play" : "cordon"} />{closed ? "Uncordon" : "Cordon"}</button>}
      </div>
      <nav class="tabs" aria-label="Parts of the node">
        {tabs.map(([path, title]) => <a key={path} href={path ? `${base}/${path}` : base} {...(path === tab ? { "aria-current": "page" as const } : {})}>{title}</a>)}
      </nav>
      {tab === "events" && <ObjectEvents object={{ ...node, metadata: { name } }} />}
      {tab === "yaml" && <Yaml kind={NODE} namespace="" name={name} version={undefined} />}
      {tab === "" && <NodeSummary node={node} pods={pods} />}
    </>
  );
}

function NodeSummary({ node, pods }: { node: K8sObject; pods: Collection }) {
  const info = node["status"]?.nodeInfo ?? {};
  const bad = (node["status"]?.conditions ?? []).filter((one: any) => (one.type === "Ready") !== (one.status === "True"));
  return (
    <>
      {bad.map((one: any) => <Note key={one.type} tone="bad"><strong>{one.reason}</strong>: {one.message}</Note>)}
      <div class="grid">
        <div class="span-6"><Card title="Room"><Usage nodes={[node]} pods={pods.items} /></Card></div>
        <div class="span-6">
          <Card title="Details">
            <Facts
              of={[
                ["Kernel", info.kernelVersion],
                ["System", info.osImage],
                ["Architecture", info.architecture],
                ["Runtime", info.containerRuntimeVersion],
                ["Agent", info.kubeletVersion],
                ["Pod addresses", node["spec"]?.podCIDR],
                ["Taints", (node["spec"]?.taints ?? []).map((one: any) => `${one.key}:${one.effect}`).join(", ")],
                ["Labels", <Tags of={node.metadata.labels} />],
              ]}
            />
          </Card>
        </div>
      </div>
      <Card title="Pods" flush><PodTable state={pods} of="node" /></Card>
    </>
  );
}
