// The namespace that lists show; empty means all of them. Kept for the tab.

import { effect, signal } from "@preact/signals";

const KEY = "mainstay.namespace";
export const namespace = signal(sessionStorage.getItem(KEY) ?? "");
effect(() => sessionStorage.setItem(KEY, namespace.value));
