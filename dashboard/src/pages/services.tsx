// Services: names and addresses under which pods are reached.

import { pageOf, SERVICE } from "../api/kinds.ts";
import { useCollection } from "../api/store.ts";
import type { K8sObject } from "../api/watch.ts";
import { namespace } from "../namespace.ts";
import { Age, Badge } from "../parts/basics.tsx";
import { nameColumn, Table, type Column } from "../parts/table.tsx";

const page = (service: K8sObject) => pageOf(SERVICE, service.metadata.namespace, service.metadata.name);

const ports = (service: K8sObject): string =>
  (service["spec"]?.ports ?? []).map((one: any) => `${one.port}${one.nodePort ? `:${one.nodePort}` : ""}/${one.protocol ?? "TCP"}`).join(", ");

const outside = (service: K8sObject): string => {
  const given = (service["status"]?.loadBalancer?.ingress ?? []).map((one: any) => one.ip ?? one.hostname);
  return [...given, ...(service["spec"]?.externalIPs ?? []), service["spec"]?.externalName].filter(Boolean).join(", ");
};

const COLUMNS: Column[] = [
  nameColumn(page),
  { title: "Namespace", sort: (service) => service.metadata.namespace ?? "", cell: (service) => service.metadata.namespace },
  { title: "Type", sort: (service) => service["spec"]?.type ?? "", cell: (service) => <Badge plain state={{ text: service["spec"]?.clusterIP === "None" ? "Headless" : service["spec"]?.type, tone: service["spec"]?.type === "ClusterIP" ? "idle" : "info" }} /> },
  { title: "Cluster IP", class: "num", sort: (service) => service["spec"]?.clusterIP ?? "", cell: (service) => (service["spec"]?.clusterIP === "None" ? "" : service["spec"]?.clusterIP) },
  { title: "From outside", class: "num", cell: outside },
  { title: "Ports", class: "num", cell: ports },
  { title: "Selects", class: "wide", cell: (service) => Object.entries(service["spec"]?.selector ?? {}).map(([key, value]) => <span class="tag" key={key}>{key}={String(value)}</span>) },
  { title: "Age", class: "num", sort: (service) => -Date.parse(service.metadata.creationTimestamp ?? ""), cell: (service) => <Age at={service.metadata.creationTimestamp} /> },
];

export function Services() {
  const state = useCollection(SERVICE, namespace.value).value;
  return (
    <>
      <div class="page-head">
        <div class="title">
          <h1>Services</h1>
          <p>Names and addresses under which pods are reached.</p>
        </div>
      </div>
      <Table state={state} columns={COLUMNS} what="services" href={page} />
    </>
  );
}
