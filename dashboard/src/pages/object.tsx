// Any one object: its document and its events; of Services, config maps and Secrets a little more.

import { useState } from "preact/hooks";

import { remove } from "../api/act.ts";
import { useAllowed } from "../api/access.ts";
import { getJson, words } from "../api/client.ts";
import { CONFIG_MAP, objectPath, POD, SECRET, SERVICE, type Kind } from "../api/kinds.ts";
import { useCollection } from "../api/store.ts";
import type { K8sObject } from "../api/watch.ts";
import { Age, Card, Empty, Facts, Loading, Note, Tags } from "../parts/basics.tsx";
import { ask } from "../parts/dialog.tsx";
import { ObjectEvents } from "../parts/events.tsx";
import { Icon } from "../parts/icons.tsx";
import { Yaml } from "../parts/yaml.tsx";
import { PodTable } from "./pods.tsx";

const KNOWN = [SERVICE, CONFIG_MAP, SECRET];

function kindOf(slug: string, namespaced: boolean): Kind | undefined {
  const [group = "", version = "", plural = ""] = slug.split("~");
  if (!version || !plural) return undefined;
  const name = group === "core" ? "" : group;
  const known = KNOWN.find((kind) => kind.group === name && kind.version === version && kind.plural === plural);
  return known ?? { group: name, version, plural, kind: plural, namespaced };
}

export function ObjectPage({ slug, namespace, name }: { slug: string; namespace: string; name: string }) {
  const [kind] = useState(() => kindOf(slug, namespace !== ""));
  return kind && name ? <Known kind={kind} namespace={namespace} name={name} slug={slug} /> : <Empty icon="explore" title="There is no such page" />;
}

function Known({ kind, namespace, name, slug }: { kind: Kind; namespace: string; name: string; slug: string }) {
  // Only metadata is followed: the document is read by who opens it, and a Secret's by a click.
  const wants = kind === SECRET || !KNOWN.includes(kind);
  const state = useCollection(kind, namespace, { fieldSelector: `metadata.name=${name}`, metadataOnly: wants }).value;
  const mayDelete = useAllowed({ verb: "delete", kind, namespace, name });
  const object = state.items[0];
  if (!object) {
    if (state.phase === "loading") return <Card><Loading rows={6} /></Card>;
    return <Empty icon="explore" title={state.phase === "live" ? `There is no ${name}` : "It cannot be shown"}>{state.error ? words(state.error) : ""}</Empty>;
  }
  const title = kind.kind === kind.plural ? kind.plural : kind.kind;
  const back = kind === SERVICE ? "#/services" : kind === CONFIG_MAP ? "#/config/configmaps" : kind === SECRET ? "#/config/secrets" : `#/explore/${slug}`;
  const askDelete = () =>
    ask({ title: `Delete ${name}?`, text: "This cannot be undone.", button: "Delete", danger: true, done: `${name} is being deleted.`, act: () => remove(kind, object).then(() => (location.hash = back)) });
  return (
    <>
      <div class="page-head">
        <div class="title">
          <h1>{name}</h1>
          <p><a class="link" href={back}>{title}</a>{namespace && ` in ${namespace}`}, <Age at={object.metadata.creationTimestamp} /> old</p>
        </div>
        {mayDelete && <button class="button danger" onClick={askDelete}><Icon name="bin" />Delete</button>}
      </div>
      {kind === SERVICE && <ServiceParts service={object} />}
      {kind === CONFIG_MAP && <Values entries={Object.entries<string>(object["data"] ?? {})} open />}
      {kind === SECRET && <SecretValues object={object} />}
      {!KNOWN.includes(kind) && (
        <Card title="Details"><Facts of={[["Labels", <Tags of={object.metadata.labels} />], ["Annotations", <Tags of={object.metadata.annotations} />]]} /></Card>
      )}
      <Yaml kind={kind} namespace={namespace} name={name} version={object.metadata.resourceVersion} />
      {kind.plural !== "events" && <ObjectEvents object={object} />}
    </>
  );
}

function ServiceParts({ service }: { service: K8sObject }) {
  const selector = Object.entries<string>(service["spec"]?.selector ?? {}).map((pair) => pair.join("=")).join(",");
  return (
    <div class="grid">
      <div class="span-5">
        <Card title="Details">
          <Facts
            of={[
              ["Type", service["spec"]?.type],
              ["Cluster IP", (service["spec"]?.clusterIPs ?? []).join(", ")],
              ["Name in the cluster", <code>{`${service.metadata.name}.${service.metadata.namespace}.svc`}</code>],
              ["Ports", (service["spec"]?.ports ?? []).map((one: any) => <div key={one.port} class="num">{one.name && `${one.name} `}{one.port} → {one.targetPort ?? one.port} {one.protocol}{one.nodePort && `, on nodes ${one.nodePort}`}</div>)],
              ["Selects", selector && <span class="tag">{selector}</span>],
              ["Labels", <Tags of={service.metadata.labels} />],
            ]}
          />
        </Card>
      </div>
      <div class="span-7">{selector && <ServicePods namespace={service.metadata.namespace ?? ""} selector={selector} />}</div>
    </div>
  );
}

function ServicePods({ namespace, selector }: { namespace: string; selector: string }) {
  const state = useCollection(POD, namespace, { labelSelector: selector }).value;
  return <Card title="Pods behind it" flush><PodTable state={state} of="workload" /></Card>;
}

function SecretValues({ object }: { object: K8sObject }) {
  const [entries, setEntries] = useState<[string, string][]>();
  const [type, setType] = useState("");
  const [error, setError] = useState("");
  const read = async () => {
    try {
      const secret = await getJson(objectPath(SECRET, object.metadata.namespace ?? "", object.metadata.name));
      setType(secret.type ?? "");
      setEntries(Object.entries<string>(secret.data ?? {}).map(([key, value]) => [key, decoded(value)]));
    } catch (failed) {
      setError(words(failed));
    }
  };
  if (entries) return <Values entries={entries} open={false} note={type} />;
  return (
    <Card title="Values">
      {error ? <Note tone="bad">{error}</Note> : <p class="small muted">Nothing of the values was asked of the server yet.</p>}
      <p style={{ marginTop: "12px" }}><button class="button" onClick={read}><Icon name="eye" />Read the values</button></p>
    </Card>
  );
}

function decoded(base64: string): string {
  const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return `${bytes.length} bytes that are no text`;
  }
}

function Values({ entries, open, note }: { entries: [string, string][]; open: boolean; note?: string }) {
  const [shown, setShown] = useState<Set<string>>(new Set());
  const flip = (key: string) => {
    const next = new Set(shown);
    if (!next.delete(key)) next.add(key);
    setShown(next);
  };
  return (
    <Card title="Values" tools={note && <span class="muted small">{note}</span>}>
      {entries.length === 0 && <p class="small muted">None.</p>}
      <div class="stack">
        {entries.map(([key, value]) => (
          <div key={key} class="stack" style={{ gap: "6px" }}>
            <div class="row">
              <strong class="small grow break">{key}</strong>
              {!open && <button class="button quiet" aria-pressed={shown.has(key)} onClick={() => flip(key)}><Icon name="eye" />{shown.has(key) ? "Hide" : "Reveal"}</button>}
            </div>
            <div class="held" data-key={key}>{open || shown.has(key) ? value : "••••••••••"}</div>
          </div>
        ))}
      </div>
    </Card>
  );
}

