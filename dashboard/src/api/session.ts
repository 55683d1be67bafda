// Who is signed in. The token lives in this tab's session storage only: it ends with the tab and no other tab reads it.

import { signal } from "@preact/signals";

const KEY = "mainstay.token";

export interface User {
  username: string;
  groups: string[];
}

/** The bearer token; empty where the connection itself says who the user is (a client certificate, `kubectl proxy`). */
export const token = signal(sessionStorage.getItem(KEY) ?? "");
/** The user; undefined until it is known, null where nobody is signed in. */
export const user = signal<User | null | undefined>(undefined);
/** Why the sign-in page is shown again. */
export const notice = signal("");

export function keep(value: string): void {
  token.value = value;
  if (value) sessionStorage.setItem(KEY, value);
  else sessionStorage.removeItem(KEY);
}

/** The server no longer takes the token. */
export function expired(): void {
  if (user.peek() === null) return;
  keep("");
  notice.value = "The token is no longer accepted. Sign in again.";
  user.value = null;
}

export function signOut(): void {
  keep("");
  notice.value = "";
  user.value = null;
}
