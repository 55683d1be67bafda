// The page that the address names: everything after `#`, so that the server serves one document.

import { signal } from "@preact/signals";

export interface Route {
  /** Decoded, without empty ones. */
  path: string[];
  query: URLSearchParams;
}

function read(): Route {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const decoded = path.split("/").filter(Boolean).map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  return { path: decoded, query: new URLSearchParams(query) };
}

export const route = signal(read());

addEventListener("hashchange", () => {
  const before = route.peek().path.join("/");
  route.value = read();
  if (route.peek().path.join("/") !== before) scrollTo(0, 0);
});

export function go(hash: string): void {
  location.hash = hash;
}
