// All pods, live.

import { POD, pageOf } from "../api/kinds.ts";
import { useCollection, type Collection } from "../api/store.ts";
import type { K8sObject } from "../api/watch.ts";
import { podState } from "../model/status.ts";
import { namespace } from "../namespace.ts";
import { Age, Badge } from "../parts/basics.tsx";
import { nameColumn, plainText, Table, type Column } from "../parts/table.tsx";

const page = (pod: K8sObject) => pageOf(POD, pod.metadata.namespace, pod.metadata.name);
const started = (pod: K8sObject) => pod.metadata.creationTimestamp ?? "";

const COLUMNS: Record<string, Column> = {
  name: nameColumn(page),
  namespace: { title: "Namespace", sort: (pod) => pod.metadata.namespace ?? "", cell: (pod) => pod.metadata.namespace },
  status: { title: "Status", class: "state", sort: (pod) => podState(pod).text, cell: (pod) => <Badge state={podState(pod)} /> },
  ready: {
    title: "Ready",
    class: "num",
    sort: (pod) => podState(pod).ready,
    cell: (pod) => {
      const { ready, total } = podState(pod);
      return `${ready}/${total}`;
    },
  },
  restarts: {
    title: "Restarts",
    class: "num",
    sort: (pod) => podState(pod).restarts,
    cell: (pod) => {
      const { restarts } = podState(pod);
      return restarts > 0 ? <span class="warn">{restarts}</span> : <span class="muted">0</span>;
    },
  },
  node: { title: "Node", class: "nowrap", sort: (pod) => pod["spec"]?.nodeName ?? "", cell: (pod) => pod["spec"]?.nodeName ?? "" },
  address: { title: "IP", class: "num", cell: (pod) => pod["status"]?.podIP ?? "" },
  age: { title: "Age", class: "num", sort: (pod) => -Date.parse(started(pod)), cell: (pod) => <Age at={started(pod)} /> },
};

const text = (pod: K8sObject) => `${plainText(pod)} ${podState(pod).text} ${pod["spec"]?.nodeName ?? ""} ${pod["status"]?.podIP ?? ""}`;

const ALL = Object.values(COLUMNS);
const ONE_NAMESPACE = Object.entries(COLUMNS).filter(([name]) => name !== "namespace").map(([, column]) => column);
const ONE_WORKLOAD = Object.entries(COLUMNS).filter(([name]) => name !== "namespace" && name !== "address").map(([, column]) => column);
const ONE_NODE = Object.entries(COLUMNS).filter(([name]) => name !== "node").map(([, column]) => column);

/** Pods as a part of another page. */
export const PodTable = ({ state, of }: { state: Collection; of: "node" | "workload" }) => (
  <Table state={state} columns={of === "node" ? ONE_NODE : ONE_WORKLOAD} what="pods" href={page} text={text} bare />
);

export function Pods() {
  const state = useCollection(POD, namespace.value).value;
  return (
    <>
      <div class="page-head">
        <div class="title">
          <h1>Pods</h1>
          <p>{namespace.value ? `In namespace ${namespace.value}` : "In all namespaces"}, as they change.</p>
        </div>
      </div>
      <Table state={state} columns={namespace.value ? ONE_NAMESPACE : ALL} what="pods" href={page} text={text} />
    </>
  );
}
