// Config maps and Secrets. Of Secrets only names are read: values are asked for one object at a time, by a click.

import { CONFIG_MAP, pageOf, SECRET } from "../api/kinds.ts";
import { useCollection } from "../api/store.ts";
import type { K8sObject } from "../api/watch.ts";
import { namespace } from "../namespace.ts";
import { Age } from "../parts/basics.tsx";
import { nameColumn, Table, type Column } from "../parts/table.tsx";

const common = (kind: typeof SECRET): [Column, Column, Column] => [
  nameColumn((object) => pageOf(kind, object.metadata.namespace, object.metadata.name)),
  { title: "Namespace", sort: (object) => object.metadata.namespace ?? "", cell: (object) => object.metadata.namespace },
  { title: "Age", class: "num", sort: (object) => -Date.parse(object.metadata.creationTimestamp ?? ""), cell: (object) => <Age at={object.metadata.creationTimestamp} /> },
];

const keys = (object: K8sObject) => [...Object.keys(object["data"] ?? {}), ...Object.keys(object["binaryData"] ?? {})];

const [mapName, mapNamespace, mapAge] = common(CONFIG_MAP);
const CONFIG_MAPS: Column[] = [
  mapName,
  mapNamespace,
  { title: "Keys", class: "wide", cell: (object) => <span class="tags">{keys(object).map((key) => <span class="tag" key={key}>{key}</span>)}</span> },
  mapAge,
];
const SECRETS: Column[] = common(SECRET);

export function Config({ tab }: { tab: string }) {
  const tabs = [["configmaps", "Config maps"], ["secrets", "Secrets"]] as const;
  return (
    <>
      <div class="page-head">
        <div class="title">
          <h1>Configuration</h1>
          <p>What pods are given to read.</p>
        </div>
      </div>
      <nav class="tabs" aria-label="Kinds of configuration">
        {tabs.map(([path, title]) => <a key={path} href={`#/config/${path}`} {...(path === tab ? { "aria-current": "page" as const } : {})}>{title}</a>)}
      </nav>
      {tab === "secrets" ? <Secrets /> : <ConfigMaps />}
    </>
  );
}

function ConfigMaps() {
  const state = useCollection(CONFIG_MAP, namespace.value).value;
  return <Table state={state} columns={CONFIG_MAPS} what="config maps" href={(object) => pageOf(CONFIG_MAP, object.metadata.namespace, object.metadata.name)} />;
}

function Secrets() {
  const state = useCollection(SECRET, namespace.value, { metadataOnly: true }).value;
  return <Table state={state} columns={SECRETS} what="secrets" href={(object) => pageOf(SECRET, object.metadata.namespace, object.metadata.name)} />;
}
