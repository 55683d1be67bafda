// What a key press sends to the program.

import type { Screen } from "./screen.ts";

const CURSOR: Record<string, string> = { ArrowUp: "A", ArrowDown: "B", ArrowRight: "C", ArrowLeft: "D", Home: "H", End: "F" };
const NUMBERED: Record<string, string> = {
  Insert: "2", Delete: "3", PageUp: "5", PageDown: "6", F5: "15", F6: "17", F7: "18", F8: "19", F9: "20", F10: "21", F11: "23", F12: "24",
};
const PLAIN: Record<string, string> = { Enter: "\r", Backspace: "\x7f", Tab: "\t", Escape: "\x1b", F1: "\x1bOP", F2: "\x1bOQ", F3: "\x1bOR", F4: "\x1bOS" };

/** The bytes of a key that is no text; undefined where the browser should go on with it. */
export function keyBytes(event: KeyboardEvent, screen: Screen): string | undefined {
  const { key } = event;
  if (event.isComposing || event.metaKey) return undefined;
  const modifiers = 1 + (event.shiftKey ? 1 : 0) + (event.altKey ? 2 : 0) + (event.ctrlKey ? 4 : 0);
  const cursor = CURSOR[key];
  if (cursor) {
    if (modifiers > 1) return `\x1b[1;${modifiers}${cursor}`;
    return `\x1b${screen.applicationCursor ? "O" : "["}${cursor}`;
  }
  const numbered = NUMBERED[key];
  if (numbered) return modifiers > 1 ? `\x1b[${numbered};${modifiers}~` : `\x1b[${numbered}~`;
  if (key === "Tab" && event.shiftKey) return "\x1b[Z";
  const plain = PLAIN[key];
  if (plain) return event.altKey ? `\x1b${plain}` : plain;
  if (event.ctrlKey && !event.altKey && key.length === 1) {
    // Ctrl+Shift+C and Ctrl+Shift+V stay the browser's: copy and paste.
    if (event.shiftKey) return undefined;
    const code = key.toUpperCase().charCodeAt(0);
    if (key === " " || key === "@") return "\0";
    if (code >= 64 && code <= 95) return String.fromCharCode(code - 64);
    return undefined;
  }
  if (event.altKey && !event.ctrlKey && key.length === 1) return `\x1b${key}`;
  return undefined;
}
