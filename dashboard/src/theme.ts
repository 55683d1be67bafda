// Light, dark, or as the system says.

import { effect, signal } from "@preact/signals";

const KEY = "mainstay.theme";
export type Theme = "system" | "light" | "dark";

const stored = localStorage.getItem(KEY);
export const theme = signal<Theme>(stored === "light" || stored === "dark" ? stored : "system");
const system = matchMedia("(prefers-color-scheme: dark)");
/** Counts changes of the colours in force, for what draws by itself. */
export const repaint = signal(0);
system.addEventListener("change", () => (repaint.value += 1));

effect(() => {
  const chosen = theme.value;
  if (chosen === "system") {
    delete document.documentElement.dataset["theme"];
    localStorage.removeItem(KEY);
  } else {
    document.documentElement.dataset["theme"] = chosen;
    localStorage.setItem(KEY, chosen);
  }
  repaint.value = repaint.peek() + 1;
});

/** What is in force; a component that asks is rendered again when it changes. */
export const isDark = () => repaint.value >= 0 && (theme.value === "system" ? system.matches : theme.value === "dark");

/** Turns to the other of light and dark; to the system's word where that is the other. */
export function toggle(): void {
  const dark = theme.peek() === "system" ? !system.matches : theme.peek() !== "dark";
  theme.value = dark === system.matches ? "system" : dark ? "dark" : "light";
}
