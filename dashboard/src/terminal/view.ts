// Draws a screen into the page: one element a row, one span a run of equal cells. Text only, never markup.

import { keyBytes } from "./keys.ts";
import { Parser } from "./parser.ts";
import { Screen, type Row } from "./screen.ts";
import { css, type Style } from "./style.ts";

export class TerminalView {
  readonly screen = new Screen(80, 24);
  private readonly parser = new Parser(this.screen);
  private readonly history = document.createElement("div");
  private readonly live = document.createElement("div");
  private readonly input = document.createElement("textarea");
  private readonly probe = document.createElement("span");
  private readonly observer: ResizeObserver;
  private shownHistory = 0;
  private drawing = 0;
  private drawn: string[] = [];

  constructor(
    private readonly host: HTMLElement,
    private readonly on: { type(text: string): void; resize(columns: number, rows: number): void },
  ) {
    this.screen.reply = (text) => on.type(text);
    this.history.className = "term-rows";
    this.live.className = "term-rows";
    this.input.className = "term-input";
    this.input.setAttribute("aria-label", "Terminal input");
    this.input.autocapitalize = "off";
    this.input.spellcheck = false;
    this.input.setAttribute("autocomplete", "off");
    this.input.setAttribute("autocorrect", "off");
    this.probe.className = "term-probe";
    this.probe.textContent = "W".repeat(20);
    this.probe.setAttribute("aria-hidden", "true");
    host.append(this.history, this.live, this.input, this.probe);
    this.listen();
    this.observer = new ResizeObserver(() => this.fit());
    this.observer.observe(host);
  }

  end(): void {
    this.observer.disconnect();
    cancelAnimationFrame(this.drawing);
    this.host.replaceChildren();
  }

  focus(): void {
    this.input.focus({ preventScroll: true });
  }

  write(bytes: Uint8Array): void {
    this.parser.write(bytes);
    this.later();
  }

  say(text: string): void {
    this.write(new TextEncoder().encode(text));
  }

  /** The text of all rows, for tests and for copying. */
  text(): string {
    return [...this.screen.scrollback, ...this.screen.rows].map((row) => row.map((cell) => cell.text).join("").trimEnd()).join("\n");
  }

  /** As many columns and rows as there is room for. */
  fit(): void {
    const cell = this.probe.getBoundingClientRect();
    if (cell.width === 0) return;
    const style = getComputedStyle(this.host);
    const inside = (length: number, ...edges: string[]) => length - edges.reduce((sum, edge) => sum + (parseFloat(edge) || 0), 0);
    const width = inside(this.host.clientWidth, style.paddingLeft, style.paddingRight);
    const height = inside(this.host.clientHeight, style.paddingTop, style.paddingBottom);
    const columns = Math.max(20, Math.floor(width / (cell.width / 20)));
    const rows = Math.max(4, Math.floor(height / cell.height));
    if (columns === this.screen.columns && rows === this.screen.lines) return;
    this.screen.resize(columns, rows);
    this.on.resize(columns, rows);
    this.drawn = [];
    this.later();
  }

  private listen(): void {
    this.host.addEventListener("click", () => {
      if (!getSelection()?.toString()) this.focus();
    });
    this.input.addEventListener("keydown", (event) => {
      const bytes = keyBytes(event, this.screen);
      if (bytes === undefined) return;
      // Ctrl+C with a selection copies, as everywhere else.
      if (bytes === "\x03" && getSelection()?.toString()) return;
      event.preventDefault();
      this.on.type(bytes);
    });
    this.input.addEventListener("input", (event) => {
      if ((event as InputEvent).isComposing) return;
      this.typed();
    });
    this.input.addEventListener("compositionend", () => this.typed());
    this.input.addEventListener("paste", (event) => {
      event.preventDefault();
      const text = (event.clipboardData?.getData("text/plain") ?? "").replaceAll("\r\n", "\r").replaceAll("\n", "\r");
      this.on.type(this.screen.bracketedPaste ? `\x1b[200~${text.replaceAll("\x1b", "")}\x1b[201~` : text);
    });
    for (const name of ["focus", "blur"] as const) {
      this.input.addEventListener(name, () => this.host.classList.toggle("has-focus", name === "focus"));
    }
  }

  private typed(): void {
    const text = this.input.value;
    this.input.value = "";
    if (text) this.on.type(text.replaceAll("\n", "\r"));
  }

  private later(): void {
    if (this.drawing === 0) this.drawing = requestAnimationFrame(() => this.draw());
  }

  private draw(): void {
    this.drawing = 0;
    const { screen, history, live, host } = this;
    const atEnd = host.scrollHeight - host.scrollTop - host.clientHeight < 40;
    const fresh = Math.min(screen.keptRows - this.shownHistory, screen.scrollback.length);
    this.shownHistory = screen.keptRows;
    for (const row of fresh > 0 ? screen.scrollback.slice(-fresh) : []) history.append(rowElement(row, -1));
    while (history.children.length > screen.scrollback.length) history.firstElementChild!.remove();
    history.hidden = screen.isAlternate;
    for (const [index, row] of screen.rows.entries()) {
      const cursor = screen.cursorShown && index === screen.y ? screen.x : -1;
      const mark = signature(row, cursor);
      if (this.drawn[index] === mark && live.children[index]) continue;
      this.drawn[index] = mark;
      const element = rowElement(row, cursor);
      const old = live.children[index];
      if (old) old.replaceWith(element);
      else live.append(element);
    }
    while (live.children.length > screen.rows.length) live.lastElementChild!.remove();
    if (atEnd) host.scrollTop = host.scrollHeight;
  }
}

/** Differs between rows that look different. */
function signature(row: Row, cursor: number): string {
  let text = `${cursor}|`;
  let last: Style | undefined;
  for (const cell of row) {
    if (cell.style !== last) {
      last = cell.style;
      text += `\0${JSON.stringify(last)}`;
    }
    text += cell.text;
  }
  return text;
}

function rowElement(row: Row, cursor: number): HTMLElement {
  const element = document.createElement("div");
  element.className = "term-row";
  let text = "";
  let style: Style | undefined;
  const flush = () => {
    if (text && style) element.append(span(text, style, false));
    text = "";
  };
  for (const [index, cell] of row.entries()) {
    if (index === cursor) {
      flush();
      element.append(span(cell.text || " ", cell.style, true));
      style = undefined;
      continue;
    }
    if (cell.style !== style) {
      flush();
      style = cell.style;
    }
    text += cell.text;
  }
  flush();
  return element;
}

function span(text: string, style: Style, isCursor: boolean): HTMLElement {
  const element = document.createElement("span");
  element.textContent = text;
  const names: string[] = [];
  if (isCursor) names.push("term-cursor");
  if (style.bold) names.push("term-bold");
  if (style.dim) names.push("term-dim");
  if (style.italic) names.push("term-italic");
  if (style.underline) names.push("term-underline");
  if (style.strike) names.push("term-strike");
  const [fg, bg] = style.inverse ? [style.bg, style.fg] : [style.fg, style.bg];
  if (style.inverse && fg === -1) names.push("term-inverse-fg");
  if (style.inverse && bg === -1) names.push("term-inverse-bg");
  if (fg >= 0 && fg < 16) names.push(`term-fg-${fg}`);
  else if (fg >= 16) element.style.color = css(fg);
  if (bg >= 0 && bg < 16) names.push(`term-bg-${bg}`);
  else if (bg >= 16) element.style.backgroundColor = css(bg);
  element.className = names.join(" ");
  return element;
}
