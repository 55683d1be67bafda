// One pod: what it is and how it does, its output, a shell in it, its events, its document.

import { useState } from "preact/hooks";

import { remove } from "../api/act.ts";
import { useAllowed } from "../api/access.ts";
import { kindNamed, NODE, pageOf, POD } from "../api/kinds.ts";
import { useObject } from "../api/store.ts";
import type { K8sObject } from "../api/watch.ts";
import { podState, type State } from "../model/status.ts";
import { namespace as chosen } from "../namespace.ts";
import { Age, Badge, Card, Empty, Facts, Loading, Note, Tags } from "../parts/basics.tsx";
import { ask } from "../parts/dialog.tsx";
import { ObjectEvents } from "../parts/events.tsx";
import { Icon } from "../parts/icons.tsx";
import { Logs } from "../parts/logs.tsx";
import { Terminal } from "../parts/terminal.tsx";
import { Yaml } from "../parts/yaml.tsx";
import { go } from "../router.ts";

export function PodPage({ namespace, name, tab }: { namespace: string; name: string; tab: string }) {
  const { object: pod, state } = useObject(POD, namespace, name);
  const [last, setLast] = useState<K8sObject>();
  if (pod && pod !== last) setLast(pod);
  const shown = pod ?? last;
  const mayLog = useAllowed({ verb: "get", kind: POD, subresource: "log", namespace, name });
  const mayExec = useAllowed({ verb: "create", kind: POD, subresource: "exec", namespace, name });
  const mayDelete = useAllowed({ verb: "delete", kind: POD, namespace, name });
  if (!shown) {
    if (state.phase === "forbidden" || pod === null) {
      return <Empty icon="pods" title={pod === null ? "There is no such pod" : "You may not see this pod"}><a class="link" href="#/pods">All pods</a></Empty>;
    }
    return <Card><Loading rows={6} /></Card>;
  }
  const base = pageOf(POD, namespace, name);
  const tabs: [string, string][] = [["", "Summary"]];
  if (mayLog) tabs.push(["logs", "Logs"]);
  if (mayExec) tabs.push(["terminal", "Terminal"]);
  tabs.push(["events", "Events"], ["yaml", "YAML"]);
  const containers = containerNames(shown);
  const first = shown.metadata.annotations?.["kubectl.kubernetes.io/default-container"] ?? shown["spec"]?.containers?.[0]?.name ?? "";
  const askDelete = () =>
    ask({
      title: `Delete pod ${name}?`,
      text: owner(shown) ? "Its owner makes another one in its place." : "Nothing makes it again.",
      button: "Delete",
      danger: true,
      done: `Pod ${name} is being deleted.`,
      act: () => remove(POD, shown).then(() => go("#/pods")),
    });
  return (
    <>
      <div class="page-head">
        <div class="title">
          <div class="row wrap">
            <h1>{name}</h1>
            <Badge state={pod === null ? { text: "Gone", tone: "idle" } : podState(shown)} />
          </div>
          <p>Pod in <a class="link" href="#/pods" onClick={() => (chosen.value = namespace)}>{namespace}</a>, <Age at={shown.metadata.creationTimestamp} /> old</p>
        </div>
        {mayDelete && pod && <button class="button danger" onClick={askDelete}><Icon name="bin" />Delete</button>}
      </div>
      <nav class="tabs" aria-label="Parts of the pod">
        {tabs.map(([path, title]) => (
          <a key={path} href={path ? `${base}/${path}` : base} {...(path === tab ? { "aria-current": "page" as const } : {})}>{title}</a>
        ))}
      </nav>
      {pod === null && <Note tone="warn">This pod is no longer there. What is shown is its last state.</Note>}
      {tab === "logs" && <Logs namespace={namespace} pod={name} containers={containers} first={first} restarted={podState(shown).restarts > 0} />}
      {tab === "terminal" && <Terminal namespace={namespace} pod={name} containers={runningNames(shown)} first={first} />}
      {tab === "events" && <ObjectEvents object={shown} />}
      {tab === "yaml" && <Yaml kind={POD} namespace={namespace} name={name} version={shown.metadata.resourceVersion} />}
      {tab === "" && <Summary pod={shown} />}
    </>
  );
}

const owner = (pod: K8sObject) => pod.metadata.ownerReferences?.find((one) => one.controller);

const containerNames = (pod: K8sObject): string[] =>
  [...(pod["spec"]?.containers ?? []), ...(pod["spec"]?.initContainers ?? []), ...(pod["spec"]?.ephemeralContainers ?? [])].map((one: any) => one.name);

const runningNames = (pod: K8sObject): string[] => (pod["spec"]?.containers ?? []).map((one: any) => one.name);

function Summary({ pod }: { pod: K8sObject }) {
  const { spec, status } = pod as any;
  const by = owner(pod);
  const byKind = by && kindNamed(by.kind, by.apiVersion);
  const failing: any[] = (status?.conditions ?? []).filter((one: any) => one.status === "False" && one.message);
  // Ready and ContainersReady say the same, most often.
  const bad = failing.filter((one, index) => failing.findIndex((other) => other.message === one.message) === index);
  return (
    <div class="grid">
      <div class="span-7 stack">
        {bad.map((one) => <Note key={one.type} tone={podState(pod).tone === "bad" ? "bad" : "warn"}><strong>{one.reason ?? one.type}</strong>: {one.message}</Note>)}
        <Card title="Containers" flush>
          {(spec?.initContainers ?? []).map((one: any) => <Container key={one.name} spec={one} status={status?.initContainerStatuses} initial />)}
          {(spec?.containers ?? []).map((one: any) => <Container key={one.name} spec={one} status={status?.containerStatuses} />)}
        </Card>
      </div>
      <div class="span-5 stack">
        <Card title="Details">
          <Facts
            of={[
              ["Node", spec?.nodeName && <a class="link" href={pageOf(NODE, "", spec.nodeName)}>{spec.nodeName}</a>],
              ["Pod IP", status?.podIPs?.map((one: any) => one.ip).join(", ") || status?.podIP],
              ["Made by", by && (byKind ? <a class="link" href={pageOf(byKind, pod.metadata.namespace, by.name)}>{by.kind} {by.name}</a> : `${by.kind} ${by.name}`)],
              ["Service account", spec?.serviceAccountName],
              ["Quality of service", status?.qosClass],
              ["Priority", spec?.priorityClassName],
              ["Restarts", spec?.restartPolicy],
              ["Volumes", (spec?.volumes ?? []).map((one: any) => one.name).join(", ")],
              ["Labels", <Tags of={pod.metadata.labels} />],
            ]}
          />
        </Card>
        <Card title="Conditions">
          <div class="tags">
            {(status?.conditions ?? []).map((one: any) => (
              <Badge key={one.type} state={{ text: one.type, tone: one.status === "True" ? "ok" : "warn" }} />
            ))}
          </div>
        </Card>
      </div>
    </div>
  );
}

function containerState(status: any): State & { more: string } {
  const { running, waiting, terminated } = status?.state ?? {};
  if (running) return { text: status.ready ? "Running" : "Not ready", tone: status.ready ? "ok" : "warn", more: "" };
  if (waiting) return { text: waiting.reason ?? "Waiting", tone: waiting.reason && /Err|BackOff|Invalid/.test(waiting.reason) ? "bad" : "info", more: waiting.message ?? "" };
  if (terminated) {
    const well = terminated.exitCode === 0;
    return { text: terminated.reason ?? (well ? "Completed" : "Failed"), tone: well ? "idle" : "bad", more: terminated.message ?? (well ? "" : `Exit code ${terminated.exitCode}`) };
  }
  return { text: "Waiting", tone: "info", more: "" };
}

function Container({ spec, status, initial }: { spec: any; status: any[] | undefined; initial?: boolean }) {
  const own = status?.find((one) => one.name === spec.name);
  const state = containerState(own);
  const amounts = (of: Record<string, string> | undefined) => Object.entries(of ?? {}).map(([name, value]) => `${name} ${value}`).join(", ");
  const last = own?.lastState?.terminated;
  return (
    <div class="container">
      <div class="row wrap">
        <strong>{spec.name}</strong>
        {initial && <span class="muted small">{spec.restartPolicy === "Always" ? "side car" : "at the start"}</span>}
        <span class="grow" />
        <Badge state={state} />
      </div>
      {state.more && <p class="small bad break">{state.more}</p>}
      <Facts
        of={[
          ["Image", <span class="mono break">{spec.image}</span>],
          ["Command", (spec.command ?? spec.args) && <span class="mono break">{[...(spec.command ?? []), ...(spec.args ?? [])].join(" ")}</span>],
          ["Ports", (spec.ports ?? []).map((one: any) => `${one.name ? `${one.name} ` : ""}${one.containerPort}/${one.protocol ?? "TCP"}`).join(", ")],
          ["Requests", amounts(spec.resources?.requests)],
          ["Limits", amounts(spec.resources?.limits)],
          ["Restarts", own?.restartCount > 0 && <span class="warn">{own.restartCount}{last && `, last: ${last.reason ?? "ended"} with code ${last.exitCode}`}</span>],
        ]}
      />
    </div>
  );
}
