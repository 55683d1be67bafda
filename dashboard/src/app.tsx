// The frame around the pages, and which page the address means.

import { useEffect, useRef } from "preact/hooks";
import type { ComponentChildren } from "preact";

import { NAMESPACE, WORKLOADS } from "./api/kinds.ts";
import { signOut, token, user } from "./api/session.ts";
import { broken, useCollection } from "./api/store.ts";
import { namespace } from "./namespace.ts";
import { Config } from "./pages/config.tsx";
import { Events } from "./pages/events.tsx";
import { Explore } from "./pages/explore.tsx";
import { NodePage, Nodes } from "./pages/nodes.tsx";
import { ObjectPage } from "./pages/object.tsx";
import { Overview } from "./pages/overview.tsx";
import { PodPage } from "./pages/pod.tsx";
import { Pods } from "./pages/pods.tsx";
import { Services } from "./pages/services.tsx";
import { SignIn } from "./pages/sign-in.tsx";
import { WorkloadPage, Workloads } from "./pages/workloads.tsx";
import { Empty } from "./parts/basics.tsx";
import { Dialogs, Toasts } from "./parts/dialog.tsx";
import { Icon, type IconName } from "./parts/icons.tsx";
import { route } from "./router.ts";
import mark from "./styles/mark.svg";
import { isDark, toggle } from "./theme.ts";

interface Place {
  title: string;
  path: string;
  icon: IconName;
}

const OVERVIEW: Place = { title: "Overview", path: "", icon: "overview" };
const WORK: Place = { title: "Workloads", path: "workloads", icon: "workloads" };
const PODS: Place = { title: "Pods", path: "pods", icon: "pods" };
const EVENTS: Place = { title: "Events", path: "events", icon: "events" };
const NODES: Place = { title: "Nodes", path: "nodes", icon: "nodes" };
const REST: Place[] = [
  { title: "Services", path: "services", icon: "services" },
  { title: "Configuration", path: "config", icon: "config" },
  { title: "All objects", path: "explore", icon: "explore" },
];
const GROUPS: [string, Place[]][] = [
  ["Cluster", [OVERVIEW, NODES, EVENTS]],
  ["Running", [WORK, PODS]],
  ["Set-up", REST],
];

export function App() {
  if (user.value === undefined) return <div class="sign-in" aria-busy="true"><img src={mark} alt="" width="56" height="56" /></div>;
  if (user.value === null) return <SignIn />;
  return <Frame />;
}

/** `/` goes to the search of the page, as in many places. */
function useSearchKey(): void {
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || target.closest("input, textarea, select, dialog")) return;
      const field = document.querySelector<HTMLInputElement>("#page input[type=search]");
      if (!field) return;
      event.preventDefault();
      field.focus();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);
}

function Frame() {
  useSearchKey();
  const at = section(route.value.path);
  const here = GROUPS.flatMap(([, places]) => places).find((place) => place.path === at);
  return (
    <div class="shell">
      <nav class="side" aria-label="Main">
        <a class="brand" href="#/"><img src={mark} alt="" />Mainstay</a>
        {GROUPS.map(([title, places]) => [
          <div class="group" key={title}>{title}</div>,
          ...places.map((place) => <NavLink key={place.path} place={place} at={at} />),
        ])}
        <div class="spring" />
        <Who />
      </nav>
      <div class="main">
        <header class="top">
          <a class="brand" href="#/" aria-label="Overview"><img src={mark} alt="" /></a>
          <Crumbs here={here} />
          {broken.value > 0 && <span class="lost" role="status">Reconnecting</span>}
          <Namespaces />
          <button class="button quiet icon-only" onClick={toggle} aria-label={isDark() ? "Light theme" : "Dark theme"} data-action="theme">
            <Icon name={isDark() ? "sun" : "moon"} />
          </button>
        </header>
        <main class="page" id="page">
          <Page />
        </main>
      </div>
      <BottomBar at={at} />
      <Dialogs />
      <Toasts />
    </div>
  );
}

/** The page that leads to the one that is shown. */
function section([first = "", slug = ""]: string[]): string {
  if (first !== "object") return first;
  if (slug === "core~v1~services") return "services";
  return slug === "core~v1~configmaps" || slug === "core~v1~secrets" ? "config" : "explore";
}

const NavLink = ({ place, at, onClick }: { place: Place; at: string; onClick?(): void }) => (
  <a class="nav" href={`#/${place.path}`} {...(place.path === at ? { "aria-current": "page" as const } : {})} {...(onClick ? { onClick } : {})}>
    <Icon name={place.icon} />
    {place.title}
  </a>
);

const Who = () => (
  <div class="who">
    <span class="avatar" aria-hidden="true">{shortName().charAt(0)}</span>
    <div class="grow" title={`${user.value?.username}\n${user.value?.groups.join("\n")}`}>
      <div class="name">{shortName()}</div>
      <div class="muted">{token.value ? "by token" : "by the connection"}</div>
    </div>
    {token.value && (
      <button class="button quiet icon-only" onClick={signOut} aria-label="Sign out" title="Sign out"><Icon name="out" /></button>
    )}
  </div>
);

/** `admin` for `system:serviceaccount:kube-system:admin`. */
const shortName = () => (user.value?.username ?? "").split(":").at(-1) ?? "";

function Crumbs({ here }: { here: Place | undefined }) {
  const rest = route.value.path.slice(1);
  const named = rest.length > 0 ? rest.filter((part) => !part.includes("~")).slice(here?.path === "workloads" || here?.path === "config" ? 1 : 0) : [];
  const tabs = ["logs", "terminal", "events", "yaml"];
  const names = here?.path === "pods" && tabs.includes(named.at(-1) ?? "") && named.length > 2 ? named.slice(0, -1) : named;
  return (
    <nav class="crumbs" aria-label="Breadcrumb">
      {here && <a href={`#/${here.path}`}>{here.title}</a>}
      {names.length > 0 && <span aria-hidden="true">/</span>}
      {names.length > 0 && <span>{names.at(-1)}</span>}
    </nav>
  );
}

const SCOPED = new Set(["workloads", "pods", "events", "services", "config", "explore"]);

/** Which namespace lists show. Who may not list namespaces types one. */
function Namespaces() {
  const { path } = route.value;
  const scoped = SCOPED.has(path[0] ?? "") && path.length < 3;
  return scoped ? <NamespaceChoice /> : null;
}

function NamespaceChoice() {
  const state = useCollection(NAMESPACE, "", { metadataOnly: true }).value;
  const names = state.items.map((item) => item.metadata.name);
  if (state.phase === "forbidden") {
    return (
      <input class="field" aria-label="Namespace" placeholder="Namespace" value={namespace.value} onChange={(event) => (namespace.value = event.currentTarget.value.trim())} />
    );
  }
  if (namespace.value && !names.includes(namespace.value)) names.unshift(namespace.value);
  return (
    <select class="select" aria-label="Namespace" value={namespace.value} onChange={(event) => (namespace.value = event.currentTarget.value)}>
      <option value="">All namespaces</option>
      {names.map((name) => <option key={name} value={name}>{name}</option>)}
    </select>
  );
}

function BottomBar({ at }: { at: string }) {
  const sheet = useRef<HTMLDialogElement>(null);
  const close = () => sheet.current?.close();
  useEffect(close, [at]);
  const main = [OVERVIEW, WORK, PODS, EVENTS];
  const others = [NODES, ...REST];
  return (
    <>
      <nav class="bottom" aria-label="Main, below">
        {main.map((place) => (
          <a key={place.path} href={`#/${place.path}`} {...(place.path === at ? { "aria-current": "page" as const } : {})}>
            <Icon name={place.icon} />
            {place.title}
          </a>
        ))}
        <button onClick={() => sheet.current?.showModal()} {...(others.some((place) => place.path === at) ? { "aria-current": "page" as const } : {})}>
          <Icon name="more" />
          More
        </button>
      </nav>
      <dialog class="sheet" ref={sheet} aria-label="More" onClick={(event) => event.target === event.currentTarget && close()}>
        {others.map((place) => <NavLink key={place.path} place={place} at={at} onClick={close} />)}
        <Who />
      </dialog>
    </>
  );
}

function Page(): ComponentChildren {
  const [first = "", ...rest] = route.value.path;
  const [a = "", b = "", c = ""] = rest;
  switch (first) {
    case "":
      return <Overview />;
    case "nodes":
      return a ? <NodePage key={a} name={a} /> : <Nodes />;
    case "workloads": {
      const kind = WORKLOADS.find((one) => one.plural === (a || "deployments"));
      if (!kind) return <Lost />;
      return b && c ? <WorkloadPage key={`${a}/${b}/${c}`} kind={kind} namespace={b} name={c} /> : <Workloads kind={kind} />;
    }
    case "pods":
      return a && b ? <PodPage key={`${a}/${b}`} namespace={a} name={b} tab={c} /> : <Pods />;
    case "events":
      return <Events />;
    case "services":
      return <Services />;
    case "config":
      return <Config tab={a || "configmaps"} />;
    case "explore":
      return <Explore slug={a} />;
    case "object":
      return <ObjectPage key={rest.join("/")} slug={a} namespace={c ? b : ""} name={c || b} />;
    default:
      return <Lost />;
  }
}

const Lost = () => (
  <Empty icon="explore" title="There is no such page">
    <a class="link" href="#/">To the overview</a>
  </Empty>
);
