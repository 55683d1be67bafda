// A list as a table, or as cards on a phone: sorted by a click, searched, the first few hundred rows at once.

import type { ComponentChildren } from "preact";
import { useMemo, useRef, useState } from "preact/hooks";

import type { Collection } from "../api/store.ts";
import type { K8sObject } from "../api/watch.ts";
import { go } from "../router.ts";
import { Empty, Search, Standstill } from "./basics.tsx";

export interface Column {
  title: string;
  cell(object: K8sObject): ComponentChildren;
  /** What it is sorted by; the text of a name where nothing is said. */
  sort?(object: K8sObject): string | number;
  class?: string;
}

interface Props {
  state: Collection;
  columns: Column[];
  what: string;
  /** The page of a row. */
  href?(object: K8sObject): string;
  /** What a search looks through. */
  text?(object: K8sObject): string;
  tools?: ComponentChildren;
  /** Nothing to search in, a part of another page. */
  bare?: boolean;
  first?: { by: number; down: boolean };
  none?: ComponentChildren;
}

const ROWS = 200;

export const plainText = (object: K8sObject) =>
  `${object.metadata.namespace ?? ""}/${object.metadata.name} ${Object.entries(object.metadata.labels ?? {}).map((pair) => pair.join("=")).join(" ")}`;

export function Table({ state, columns, what, href, text = plainText, tools, bare, first, none }: Props) {
  const [search, setSearch] = useState("");
  const [order, setOrder] = useState(first);
  const [room, setRoom] = useState(ROWS);
  const shown = useMemo(() => {
    const words = search.toLowerCase().split(/\s+/).filter(Boolean);
    let items = state.items;
    if (words.length > 0) items = items.filter((item) => words.every((word) => text(item).toLowerCase().includes(word)));
    const sort = order && columns[order.by]?.sort;
    if (sort) {
      const side = order.down ? -1 : 1;
      items = items.map((item) => [sort(item), item] as const).sort(([a], [b]) => (a < b ? -side : a > b ? side : 0)).map(([, item]) => item);
    }
    return items;
  }, [state.items, search, order, columns]);
  const fresh = useFresh(state);
  const rows = shown.slice(0, room);
  return (
    <>
      {!bare && (
        <div class="toolbar">
          <Search value={search} onInput={setSearch} label={`Search ${what}`} />
          {tools}
          <span class="grow" />
          <span class="muted small num" role="status">{count(shown.length, state.items.length, what)}</span>
        </div>
      )}
      <section class={bare ? "tabular" : "card tabular"}>
        {state.items.length === 0 ? (
          <div class={bare ? "" : "card"}>
            <Standstill state={state} what={what}>{none}</Standstill>
          </div>
        ) : shown.length === 0 ? (
          <div class={bare ? "" : "card"}>
            <Empty icon="search" title="Nothing found">No {what} match “{search}”.</Empty>
          </div>
        ) : (
          <div class="table-wrap">
            <table class="data">
              <thead>
                <tr>
                  {columns.map((column, index) => (
                    <Head key={column.title} column={column} order={order?.by === index ? order : undefined} onOrder={(down) => setOrder({ by: index, down })} />
                  ))}
                </tr>
              </thead>
              <tbody>
                {rows.map((item) => (
                  <Row key={item.metadata.uid ?? `${item.metadata.namespace}/${item.metadata.name}`} item={item} columns={columns} href={href?.(item)} fresh={fresh(item)} />
                ))}
              </tbody>
            </table>
          </div>
        )}
        {shown.length > room && (
          <div class="table-foot">
            <span>{room} of {shown.length} shown</span>
            <button class="button" onClick={() => setRoom(room + ROWS * 2)}>Show more</button>
          </div>
        )}
      </section>
    </>
  );
}

function Head({ column, order, onOrder }: { column: Column; order: { down: boolean } | undefined; onOrder(down: boolean): void }) {
  const sorted = order ? (order.down ? "descending" : "ascending") : undefined;
  const attributes = sorted ? ({ "aria-sort": sorted } as const) : {};
  return (
    <th scope="col" class={column.class ?? ""} {...attributes}>
      {column.sort ? (
        <button onClick={() => onOrder(order ? !order.down : false)}>
          {column.title}
          {order && <span class="arrow">{order.down ? "▼" : "▲"}</span>}
        </button>
      ) : (
        column.title || <span class="visually-hidden">Actions</span>
      )}
    </th>
  );
}

function Row({ item, columns, href, fresh }: { item: K8sObject; columns: Column[]; href: string | undefined; fresh: boolean }) {
  const open = (event: MouseEvent) => {
    const target = event.target as HTMLElement;
    if (href && !target.closest("a, button, input, label") && !getSelection()?.toString()) go(href);
  };
  return (
    <tr class={`${href ? "goes" : ""}${fresh ? " fresh" : ""}`} onClick={open} data-name={item.metadata.name}>
      {columns.map((column) => (
        <td key={column.title} class={column.class ?? ""} data-label={column.title}>
          {column.cell(item)}
        </td>
      ))}
    </tr>
  );
}

/** Which objects came while the list was shown: they light up for a moment. */
function useFresh(state: Collection): (item: K8sObject) => boolean {
  const since = useRef(0);
  if (since.current === 0 && state.phase === "live") since.current = Date.now();
  return (item) => since.current > 0 && Date.parse(item.metadata.creationTimestamp ?? "") > since.current - 500 && Date.now() - Date.parse(item.metadata.creationTimestamp ?? "") < 4000;
}

function count(shown: number, all: number, what: string): string {
  return shown === all ? `${all} ${what}` : `${shown} of ${all} ${what}`;
}

export const byText = (read: (object: K8sObject) => string | undefined) => (object: K8sObject) => read(object) ?? "";

/** The column that every list has. */
export const nameColumn = (href?: (object: K8sObject) => string, title = "Name"): Column => ({
  title,
  class: "name",
  sort: (object) => object.metadata.name,
  cell: (object) => (href ? <a href={href(object)}>{object.metadata.name}</a> : <strong>{object.metadata.name}</strong>),
});
