// Every kind that the API server serves, custom ones too, and its objects.

import { useEffect, useMemo, useState } from "preact/hooks";

import { words } from "../api/client.ts";
import { discover } from "../api/discovery.ts";
import { slug, type Kind } from "../api/kinds.ts";
import { useCollection } from "../api/store.ts";
import { namespace } from "../namespace.ts";
import { Age, Card, Loading, Note } from "../parts/basics.tsx";
import { nameColumn, Table, type Column } from "../parts/table.tsx";
import { go } from "../router.ts";

export function Explore({ slug: chosen }: { slug: string }) {
  const [kinds, setKinds] = useState<Kind[]>();
  const [error, setError] = useState("");
  useEffect(() => void discover().then(setKinds, (failed) => setError(words(failed))), []);
  const kind = kinds?.find((one) => slug(one) === (chosen || "core~v1~namespaces"));
  return (
    <>
      <div class="page-head">
        <div class="title">
          <h1>All objects</h1>
          <p>Every kind that this API server serves{kinds ? `: ${kinds.length}` : ""}.</p>
        </div>
        {kinds && (
          <select class="select kinds" aria-label="Kind" value={kind ? slug(kind) : ""} onChange={(event) => go(`#/explore/${event.currentTarget.value}`)}>
            {!kind && <option value="">Choose a kind</option>}
            {kinds.map((one) => <option key={slug(one)} value={slug(one)}>{one.kind}{one.group ? ` · ${one.group}` : ""}</option>)}
          </select>
        )}
      </div>
      {error && <Note tone="bad">{error}</Note>}
      {kind ? <Objects key={slug(kind)} kind={kind} /> : kinds ? <Note tone="info">This kind is not served here.</Note> : !error && <Card><Loading /></Card>}
    </>
  );
}

function Objects({ kind }: { kind: Kind }) {
  const state = useCollection(kind, namespace.value, { metadataOnly: true }).value;
  const page = (object: { metadata: { namespace?: string; name: string } }) =>
    `#/object/${slug(kind)}/${kind.namespaced ? `${encodeURIComponent(object.metadata.namespace ?? "")}/` : ""}${encodeURIComponent(object.metadata.name)}`;
  const columns = useMemo(() => {
    const list: Column[] = [nameColumn(page)];
    if (kind.namespaced) list.push({ title: "Namespace", sort: (object) => object.metadata.namespace ?? "", cell: (object) => object.metadata.namespace });
    list.push(
      { title: "Labels", class: "wide", cell: (object) => <span class="tags">{Object.entries(object.metadata.labels ?? {}).slice(0, 4).map(([key, value]) => <span class="tag" key={key}>{key}={value}</span>)}</span> },
      { title: "Age", class: "num", sort: (object) => -Date.parse(object.metadata.creationTimestamp ?? ""), cell: (object) => <Age at={object.metadata.creationTimestamp} /> },
    );
    return list;
  }, [kind]);
  return <Table state={state} columns={columns} what="objects" href={page} />;
}
