// Events as a list: of the whole cluster, or about one object.

import { EVENT, kindNamed, pageOf } from "../api/kinds.ts";
import { useCollection } from "../api/store.ts";
import type { K8sObject } from "../api/watch.ts";
import { eventCount, eventTime } from "../model/status.ts";
import { Age, Badge, Card, Standstill } from "./basics.tsx";

export const newestFirst = (events: K8sObject[]) => [...events].sort((a, b) => (eventTime(a) < eventTime(b) ? 1 : -1));

export const eventState = (event: K8sObject) => ({ text: event["reason"] || event["type"], tone: event["type"] === "Warning" ? ("warn" as const) : ("idle" as const) });

/** The object that an event is about, with its page if it has one. */
export function About({ event }: { event: K8sObject }) {
  const about = event["involvedObject"] ?? {};
  const kind = kindNamed(about.kind, about.apiVersion);
  const text = `${about.kind} ${about.name}`;
  return kind ? <a class="link" href={pageOf(kind, about.namespace, about.name)}>{text}</a> : <span>{text}</span>;
}

export const EventList = ({ events, about }: { events: K8sObject[]; about: boolean }) => (
  <ul class="events-list">
    {events.map((event) => (
      <li key={event.metadata.uid}>
        <div class="what">
          <div class="row wrap">
            <Badge state={eventState(event)} />
            {about && <About event={event} />}
          </div>
          <p title={event["message"]}>{event["message"]}</p>
        </div>
        <div class="muted small nowrap num">
          {eventCount(event) > 1 && `${eventCount(event)}× `}
          <Age at={eventTime(event)} />
        </div>
      </li>
    ))}
  </ul>
);

export function ObjectEvents({ object }: { object: K8sObject }) {
  const selector = object.metadata.uid ? `involvedObject.uid=${object.metadata.uid}` : `involvedObject.name=${object.metadata.name}`;
  // Events about what has no namespace are kept in `default`.
  const state = useCollection(EVENT, object.metadata.namespace ?? "default", { fieldSelector: selector }).value;
  return (
    <Card title="Events">
      <Standstill state={state} what="events">Events are kept for an hour.</Standstill>
      <EventList events={newestFirst(state.items)} about={false} />
    </Card>
  );
}
