// Small parts: badges, ages, notes, empty and loading states.

import { useComputed } from "@preact/signals";
import type { ComponentChildren } from "preact";

import { words } from "../api/client.ts";
import type { Collection } from "../api/store.ts";
import { now, since } from "../model/age.ts";
import type { State, Tone } from "../model/status.ts";
import { Icon, type IconName } from "./icons.tsx";

export const Badge = ({ state, plain }: { state: State; plain?: boolean }) => (
  <span class={`badge ${state.tone}${plain ? " plain" : ""}`}>{state.text}</span>
);

/** How long ago; only its text changes as time goes by. */
export function Age({ at }: { at: string | undefined }) {
  const text = useComputed(() => since(at, now.value));
  return at ? (
    <time class="num nowrap" dateTime={at} title={new Date(at).toLocaleString()}>
      {text}
    </time>
  ) : null;
}

export const Note = ({ tone, children }: { tone: Tone; children: ComponentChildren }) => (
  <div class={`note ${tone}`} role={tone === "bad" ? "alert" : "status"}>
    <Icon name={tone === "ok" ? "check" : tone === "info" ? "clock" : "alert"} />
    <div class="grow">{children}</div>
  </div>
);

export const Empty = ({ icon, title, children }: { icon?: IconName; title: string; children?: ComponentChildren }) => (
  <div class="empty">
    <Icon name={icon ?? "empty"} />
    <strong>{title}</strong>
    {children && <span class="small">{children}</span>}
  </div>
);

export const Loading = ({ rows = 4 }: { rows?: number }) => (
  <div class="stack body" aria-busy="true" aria-label="Loading">
    {Array.from({ length: rows }, (_, index) => (
      <div class="skeleton" key={index} style={{ width: `${88 - ((index * 23) % 46)}%` }} />
    ))}
  </div>
);

/** What stands in the place of a list that has nothing to show; null where it has. */
export function Standstill({ state, what, children }: { state: Collection; what: string; children?: ComponentChildren }) {
  if (state.items.length > 0) return null;
  if (state.phase === "loading") return <Loading />;
  if (state.phase === "forbidden") {
    return (
      <Empty icon="secret" title={`You may not list ${what} here`}>
        {words(state.error)} Choose a namespace that you have rights in.
      </Empty>
    );
  }
  if (state.phase === "missing") return <Empty icon="alert" title={`This API server does not serve ${what}`} />;
  if (state.phase === "reconnecting") return <Empty icon="alert" title="No connection">{words(state.error)}</Empty>;
  return <Empty title={`No ${what}`}>{children}</Empty>;
}

export const Card = ({ title, tools, flush, children, class: extra }: {
  title?: ComponentChildren;
  tools?: ComponentChildren;
  flush?: boolean;
  class?: string;
  children: ComponentChildren;
}) => (
  <section class={`card ${extra ?? ""}`}>
    {title && (
      <header>
        <h2>{title}</h2>
        {tools}
      </header>
    )}
    <div class={`body${flush ? " flush" : ""}`}>{children}</div>
  </section>
);

export const Tags = ({ of }: { of: Record<string, string> | undefined }) => {
  const entries = Object.entries(of ?? {});
  if (entries.length === 0) return <span class="muted">none</span>;
  return (
    <span class="tags">
      {entries.map(([key, value]) => (
        <span class="tag" key={key}>
          {key}
          {value && `=${value}`}
        </span>
      ))}
    </span>
  );
};

/** Names and values; those without a value are left out. */
export const Facts = ({ of }: { of: [string, ComponentChildren][] }) => (
  <dl class="facts">
    {of
      .filter(([, value]) => value !== undefined && value !== null && value !== "" && value !== false)
      .map(([name, value]) => [<dt key={name}>{name}</dt>, <dd key={`${name}=`}>{value}</dd>])}
  </dl>
);

export const Search = ({ value, onInput, label }: { value: string; onInput(value: string): void; label: string }) => (
  <label class="search">
    <Icon name="search" />
    <span class="visually-hidden">{label}</span>
    <input class="field" type="search" placeholder={label} value={value} onInput={(event) => onInput(event.currentTarget.value)} />
  </label>
);
