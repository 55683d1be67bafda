// What happened in the cluster, newest first.

import { useMemo, useState } from "preact/hooks";

import { EVENT } from "../api/kinds.ts";
import { useCollection } from "../api/store.ts";
import type { K8sObject } from "../api/watch.ts";
import { eventCount, eventTime } from "../model/status.ts";
import { namespace } from "../namespace.ts";
import { Age, Badge } from "../parts/basics.tsx";
import { About, eventState } from "../parts/events.tsx";
import { Table, type Column } from "../parts/table.tsx";

const COLUMNS: Column[] = [
  { title: "Reason", class: "state", sort: (event) => event["reason"] ?? "", cell: (event) => <Badge state={eventState(event)} /> },
  { title: "Message", class: "wide", cell: (event) => event["message"] },
  { title: "About", class: "wide", sort: (event) => event["involvedObject"]?.name ?? "", cell: (event) => <About event={event} /> },
  { title: "Namespace", sort: (event) => event.metadata.namespace ?? "", cell: (event) => event.metadata.namespace },
  { title: "Times", class: "num", sort: eventCount, cell: (event) => eventCount(event) },
  { title: "Last", class: "num", sort: (event) => eventTime(event), cell: (event) => <Age at={eventTime(event)} /> },
];

const text = (event: K8sObject) => `${event["reason"]} ${event["message"]} ${event["type"]} ${event["involvedObject"]?.kind}/${event["involvedObject"]?.name} ${event.metadata.namespace}`;

export function Events() {
  const [warnings, setWarnings] = useState(false);
  const state = useCollection(EVENT, namespace.value).value;
  const shown = useMemo(() => (warnings ? { ...state, items: state.items.filter((event) => event["type"] === "Warning") } : state), [state, warnings]);
  return (
    <>
      <div class="page-head">
        <div class="title">
          <h1>Events</h1>
          <p>What the parts of the cluster say that they did, of the last hour.</p>
        </div>
      </div>
      <Table
        state={shown}
        columns={COLUMNS}
        what="events"
        text={text}
        first={{ by: 5, down: true }}
        tools={<button class="button" aria-pressed={warnings} onClick={() => setWarnings(!warnings)}>Warnings only</button>}
      />
    </>
  );
}
