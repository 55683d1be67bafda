// Deployments and their like: how many pods they want and have; scale, restart, suspend and delete where the user may.

import { remove, restart, scale, suspend } from "../api/act.ts";
import { useAllowed } from "../api/access.ts";
import { CRON_JOB, DAEMON_SET, DEPLOYMENT, JOB, kindNamed, pageOf, POD, REPLICA_SET, STATEFUL_SET, WORKLOADS, type Kind } from "../api/kinds.ts";
import { useCollection, useObject, type Collection } from "../api/store.ts";
import type { K8sObject } from "../api/watch.ts";
import { workloadState } from "../model/status.ts";
import { namespace } from "../namespace.ts";
import { Age, Badge, Card, Empty, Facts, Loading, Note, Tags } from "../parts/basics.tsx";
import { ask } from "../parts/dialog.tsx";
import { ObjectEvents } from "../parts/events.tsx";
import { Icon } from "../parts/icons.tsx";
import { nameColumn, Table, type Column } from "../parts/table.tsx";
import { Yaml } from "../parts/yaml.tsx";
import { go, route } from "../router.ts";
import { PodTable } from "./pods.tsx";

const TITLES: Record<string, string> = {
  deployments: "Deployments",
  statefulsets: "StatefulSets",
  daemonsets: "DaemonSets",
  jobs: "Jobs",
  cronjobs: "CronJobs",
  replicasets: "ReplicaSets",
};
const WORDS: Record<string, string> = { deployments: "deployments", statefulsets: "stateful sets", daemonsets: "daemon sets", jobs: "jobs", cronjobs: "cron jobs", replicasets: "replica sets" };
const SCALABLE = [DEPLOYMENT, STATEFUL_SET, REPLICA_SET];
const RESTARTABLE = [DEPLOYMENT, STATEFUL_SET, DAEMON_SET];

const images = (object: K8sObject): string => {
  const template = object["spec"]?.template ?? object["spec"]?.jobTemplate?.spec?.template;
  return (template?.spec?.containers ?? []).map((one: any) => one.image).join(", ");
};

/** Wanted and ready pods as a small bar with its numbers. */
const Replicas = ({ kind, object }: { kind: Kind; object: K8sObject }) => {
  const state = workloadState(kind.kind, object);
  const share = state.wanted > 0 ? Math.min(100, (state.ready / state.wanted) * 100) : 0;
  return (
    <span class="row">
      <span class="meter replicas">{share > 0 && <i class={state.tone} style={{ width: `${share}%` }} />}</span>
      <span class="num">{state.ready}/{state.wanted}</span>
    </span>
  );
};

const columnsOf = (kind: Kind, withNamespace: boolean): Column[] => [
  nameColumn((object) => pageOf(kind, object.metadata.namespace, object.metadata.name)),
  ...(withNamespace ? [{ title: "Namespace", sort: (object: K8sObject) => object.metadata.namespace ?? "", cell: (object: K8sObject) => object.metadata.namespace }] : []),
  { title: "Status", class: "state", sort: (object) => workloadState(kind.kind, object).text, cell: (object) => <Badge state={workloadState(kind.kind, object)} /> },
  ...(kind === CRON_JOB
    ? [
        { title: "Schedule", class: "num", cell: (object: K8sObject) => <code>{object["spec"]?.schedule}</code> },
        { title: "Last run", class: "num", cell: (object: K8sObject) => <Age at={object["status"]?.lastScheduleTime} /> },
      ]
    : [{ title: kind === JOB ? "Done" : "Ready", class: "num", sort: (object: K8sObject) => workloadState(kind.kind, object).ready, cell: (object: K8sObject) => <Replicas kind={kind} object={object} /> }]),
  { title: "Images", class: "wide", cell: (object) => <span class="mono small">{images(object)}</span> },
  { title: "Age", class: "num", sort: (object) => -Date.parse(object.metadata.creationTimestamp ?? ""), cell: (object) => <Age at={object.metadata.creationTimestamp} /> },
];

const CACHE = new Map<string, Column[]>();
function columns(kind: Kind, withNamespace: boolean): Column[] {
  const key = `${kind.plural} ${withNamespace}`;
  let found = CACHE.get(key);
  if (!found) CACHE.set(key, (found = columnsOf(kind, withNamespace)));
  return found;
}

export function Workloads({ kind }: { kind: Kind }) {
  const state = useCollection(kind, namespace.value).value;
  return (
    <>
      <div class="page-head">
        <div class="title">
          <h1>Workloads</h1>
          <p>What keeps pods running, and how it does.</p>
        </div>
      </div>
      <nav class="tabs" aria-label="Kinds of workloads">
        {WORKLOADS.map((one) => (
          <a key={one.plural} href={`#/workloads/${one.plural}`} {...(one === kind ? { "aria-current": "page" as const } : {})}>{TITLES[one.plural]}</a>
        ))}
      </nav>
      <Table key={kind.plural} state={state} columns={columns(kind, !namespace.value)} what={WORDS[kind.plural]!} href={(object) => pageOf(kind, object.metadata.namespace, object.metadata.name)} />
    </>
  );
}

function Actions({ kind, object }: { kind: Kind; object: K8sObject }) {
  const { namespace: inside, name } = object.metadata;
  const at = { kind, namespace: inside ?? "", name };
  const mayScale = useAllowed({ ...at, verb: "patch", subresource: "scale" });
  const mayPatch = useAllowed({ ...at, verb: "patch" });
  const mayDelete = useAllowed({ ...at, verb: "delete" });
  const said = kind.kind.replace(/(?!^)([A-Z])/g, " $1").toLowerCase();
  const suspended = object["spec"]?.suspend === true;
  const owned = object.metadata.ownerReferences?.some((one) => one.controller);
  return (
    <div class="row wrap">
      {mayScale && SCALABLE.includes(kind) && !owned && (
        <button class="button" onClick={() => ask({ title: `Scale ${name}`, text: `How many pods shall this ${said} have?`, button: "Scale", number: { label: "Pods", value: object["spec"]?.replicas ?? 1 }, done: `${name} is being scaled.`, act: (number) => scale(kind, object, number) })}>
          <Icon name="scale" />Scale
        </button>
      )}
      {mayPatch && RESTARTABLE.includes(kind) && (
        <button class="button" onClick={() => ask({ title: `Restart ${name}?`, text: "All its pods are replaced, some at a time, as its strategy says.", button: "Restart", done: `${name} is being restarted.`, act: () => restart(kind, object) })}>
          <Icon name="restart" />Restart
        </button>
      )}
      {mayPatch && (kind === CRON_JOB || kind === JOB) && (
        <button class="button" onClick={() => ask({ title: `${suspended ? "Resume" : "Suspend"} ${name}?`, text: suspended ? "It goes on from now." : "It starts nothing more until it is resumed.", button: suspended ? "Resume" : "Suspend", done: `${name} is ${suspended ? "resumed" : "suspended"}.`, act: () => suspend(kind, object, !suspended) })}>
          <Icon name={suspended ? "play" : "pause"} />{suspended ? "Resume" : "Suspend"}
        </button>
      )}
      {mayDelete && (
        <button class="button danger" onClick={() => ask({ title: `Delete ${said} ${name}?`, text: "Its pods are deleted with it. This cannot be undone.", button: "Delete", danger: true, done: `${name} is being deleted.`, act: () => remove(kind, object).then(() => go(`#/workloads/${kind.plural}`)) })}>
          <Icon name="bin" />Delete
        </button>
      )}
    </div>
  );
}

/** `a=b,c in (d,e)` of a LabelSelector. */
export function selectorText(selector: any): string {
  const equal = Object.entries(selector?.matchLabels ?? {}).map(([key, value]) => `${key}=${value}`);
  const sets = (selector?.matchExpressions ?? []).map((one: any) => {
    const values = `(${(one.values ?? []).join(",")})`;
    if (one.operator === "Exists") return one.key;
    if (one.operator === "DoesNotExist") return `!${one.key}`;
    return `${one.key} ${one.operator === "In" ? "in" : "notin"} ${values}`;
  });
  return [...equal, ...sets].join(",");
}

export function WorkloadPage({ kind, namespace: inside, name }: { kind: Kind; namespace: string; name: string }) {
  const { object, state } = useObject(kind, inside, name);
  if (!object) {
    if (object === null || state.phase === "forbidden" || state.phase === "missing") {
      return <Empty icon="workloads" title={object === null ? `There is no ${kind.kind} ${inside}/${name}` : "You may not see this"}><a class="link" href={`#/workloads/${kind.plural}`}>All {WORDS[kind.plural]}</a></Empty>;
    }
    return <Card><Loading rows={6} /></Card>;
  }
  const tab = route.value.path[4] ?? "";
  const base = pageOf(kind, inside, name);
  const tabs = [["", "Summary"], ["events", "Events"], ["yaml", "YAML"]] as const;
  return (
    <>
      <div class="page-head">
        <div class="title">
          <div class="row wrap">
            <h1>{name}</h1>
            <Badge state={workloadState(kind.kind, object)} />
          </div>
          <p>{kind.kind} in {inside}, <Age at={object.metadata.creationTimestamp} /> old</p>
        </div>
        <Actions kind={kind} object={object} />
      </div>
      <nav class="tabs" aria-label="Parts">
        {tabs.map(([path, title]) => <a key={path} href={path ? `${base}/${path}` : base} {...(path === tab ? { "aria-current": "page" as const } : {})}>{title}</a>)}
      </nav>
      {tab === "events" && <ObjectEvents object={object} />}
      {tab === "yaml" && <Yaml kind={kind} namespace={inside} name={name} version={object.metadata.resourceVersion} />}
      {tab === "" && <WorkloadSummary kind={kind} object={object} />}
    </>
  );
}

function WorkloadSummary({ kind, object }: { kind: Kind; object: K8sObject }) {
  const { spec, status } = object as any;
  const bad = (status?.conditions ?? []).filter(
    (one: any) => one.message && (one.type === "ReplicaFailure" || one.type === "Failed" ? one.status === "True" : one.status === "False" && one.type !== "Suspended"),
  );
  const by = object.metadata.ownerReferences?.find((one) => one.controller);
  const byKind = by && kindNamed(by.kind, by.apiVersion);
  const selector = selectorText(spec?.selector);
  return (
    <>
      {bad.map((one: any) => <Note key={one.type} tone="warn"><strong>{one.reason}</strong>: {one.message}</Note>)}
      <div class="grid">
        <div class="span-5">
          <Card title="Details">
            <Facts
              of={[
                [kind === JOB ? "Done" : "Ready", kind !== CRON_JOB && <Replicas kind={kind} object={object} />],
                ["Up to date", status?.updatedReplicas ?? status?.updatedNumberScheduled],
                ["Schedule", spec?.schedule && <code>{spec.schedule}</code>],
                ["Strategy", spec?.strategy?.type ?? spec?.updateStrategy?.type ?? spec?.concurrencyPolicy],
                ["Images", <span class="mono break">{images(object)}</span>],
                ["Made by", by && (byKind ? <a class="link" href={pageOf(byKind, object.metadata.namespace, by.name)}>{by.kind} {by.name}</a> : `${by.kind} ${by.name}`)],
                ["Selector", selector && <span class="tag">{selector}</span>],
                ["Labels", <Tags of={object.metadata.labels} />],
              ]}
            />
          </Card>
        </div>
        <div class="span-7">
          {kind === CRON_JOB ? <CronJobRuns object={object} /> : selector ? <WorkloadPods namespace={object.metadata.namespace ?? ""} selector={selector} /> : null}
        </div>
      </div>
      {kind === DEPLOYMENT && selector && <Revisions deployment={object} selector={selector} />}
    </>
  );
}

function WorkloadPods({ namespace: inside, selector }: { namespace: string; selector: string }) {
  const state = useCollection(POD, inside, { labelSelector: selector }).value;
  return <Card title="Pods" flush><PodTable state={state} of="workload" /></Card>;
}

const owned = (state: Collection, owner: K8sObject): Collection => ({
  ...state,
  items: state.items.filter((item) => item.metadata.ownerReferences?.some((one) => one.uid === owner.metadata.uid)),
});

function CronJobRuns({ object }: { object: K8sObject }) {
  const state = useCollection(JOB, object.metadata.namespace ?? "").value;
  return (
    <Card title="Runs" flush>
      <Table state={owned(state, object)} columns={columns(JOB, false)} what="jobs" href={(job) => pageOf(JOB, job.metadata.namespace, job.metadata.name)} bare />
    </Card>
  );
}

function Revisions({ deployment, selector }: { deployment: K8sObject; selector: string }) {
  const state = useCollection(REPLICA_SET, deployment.metadata.namespace ?? "", { labelSelector: selector }).value;
  return (
    <Card title="Revisions" flush>
      <Table state={owned(state, deployment)} columns={REVISIONS} what="revisions" href={(set) => pageOf(REPLICA_SET, set.metadata.namespace, set.metadata.name)} first={{ by: 0, down: true }} bare />
    </Card>
  );
}

const revision = (set: K8sObject) => Number(set.metadata.annotations?.["deployment.kubernetes.io/revision"] ?? 0);
const REVISIONS: Column[] = [
  { title: "Revision", class: "num", sort: revision, cell: revision },
  nameColumn((set) => pageOf(REPLICA_SET, set.metadata.namespace, set.metadata.name)),
  { title: "Ready", class: "num", cell: (set) => <Replicas kind={REPLICA_SET} object={set} /> },
  { title: "Images", class: "wide", cell: (set) => <span class="mono small">{images(set)}</span> },
  { title: "Age", class: "num", cell: (set) => <Age at={set.metadata.creationTimestamp} /> },
];
