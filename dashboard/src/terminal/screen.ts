// A terminal without its window: cells, cursor and modes of the subset of xterm that shells, editors and pagers use.
// Takes the commands that parser.ts reads; draws nothing. (xterm.js needs inline styles, which the content security
// policy of this page does not allow.)

import { PLAIN, select, type Style } from "./style.ts";
import { cellsOf } from "./width.ts";

export interface Cell {
  /** Empty for the right half of a wide character. */
  text: string;
  style: Style;
}

export type Row = Cell[];

const SCROLLBACK_MAX = 2000;
const BLANK: Cell = { text: " ", style: PLAIN };

interface Buffer {
  rows: Row[];
  x: number;
  y: number;
}

interface Saved {
  x: number;
  y: number;
  style: Style;
}

const BOXES: Record<string, string> = {
  j: "┘", k: "┐", l: "┌", m: "└", n: "┼", q: "─", t: "├", u: "┤", v: "┴", w: "┬", x: "│", a: "▒", "`": "◆", f: "°", g: "±", "~": "·",
};

export class Screen {
  /** Rows that left the top of the main screen, oldest first. */
  readonly scrollback: Row[] = [];
  /** How many rows ever went there. */
  keptRows = 0;
  cursorShown = true;
  applicationCursor = false;
  bracketedPaste = false;
  /** What the program asked for and the terminal answers. */
  reply: (text: string) => void = () => {};

  private main: Buffer;
  private alternate: Buffer | undefined;
  private style: Style = PLAIN;
  private saved: Saved = { x: 0, y: 0, style: PLAIN };
  private top = 0;
  private bottom: number;
  private wraps = true;
  private inserts = false;
  private fromTop = false;
  /** The last column was written: the next character goes to the next row. */
  private full = false;
  private boxes = false;

  constructor(
    public columns: number,
    public lines: number,
  ) {
    this.bottom = lines - 1;
    this.main = this.buffer();
  }

  private buffer(): Buffer {
    return { rows: Array.from({ length: this.lines }, () => this.blankRow()), x: 0, y: 0 };
  }

  private blankRow(): Row {
    const cell = this.style.bg === -1 ? BLANK : { text: " ", style: { ...PLAIN, bg: this.style.bg } };
    return Array.from({ length: this.columns }, () => cell);
  }

  private get at(): Buffer {
    return this.alternate ?? this.main;
  }

  get rows(): Row[] {
    return this.at.rows;
  }

  get x(): number {
    return Math.min(this.at.x, this.columns - 1);
  }

  get y(): number {
    return this.at.y;
  }

  get isAlternate(): boolean {
    return this.alternate !== undefined;
  }

  resize(columns: number, lines: number): void {
    if (columns === this.columns && lines === this.lines) return;
    this.columns = columns;
    this.lines = lines;
    for (const buffer of this.alternate ? [this.main, this.alternate] : [this.main]) {
      buffer.rows = buffer.rows.map((row) => Array.from({ length: columns }, (_, index) => row[index] ?? BLANK));
      while (buffer.rows.length > lines) {
        // Empty rows below the cursor go first, then rows leave by the top.
        if (buffer.y < buffer.rows.length - 1) buffer.rows.pop();
        else {
          const left = buffer.rows.shift()!;
          if (buffer === this.main) this.keep(left);
          buffer.y -= 1;
        }
      }
      while (buffer.rows.length < lines) buffer.rows.push(Array.from({ length: columns }, () => BLANK));
      buffer.x = Math.min(buffer.x, columns - 1);
      buffer.y = Math.max(0, Math.min(buffer.y, lines - 1));
    }
    this.top = 0;
    this.bottom = lines - 1;
    this.full = false;
  }

  /** One character. */
  print(char: string): void {
    const text = this.boxes ? (BOXES[char] ?? char) : char;
    const width = cellsOf(text);
    const at = this.at;
    if (width === 0) {
      const cell = at.rows[at.y]?.[Math.max(0, this.full ? at.x : at.x - 1)];
      if (cell) at.rows[at.y]![Math.max(0, this.full ? at.x : at.x - 1)] = { ...cell, text: cell.text + text };
      return;
    }
    if (this.full || at.x + width > this.columns) {
      if (this.wraps) {
        at.x = 0;
        this.lineFeed();
      } else {
        at.x = this.columns - width;
      }
      this.full = false;
    }
    const row = at.rows[at.y]!;
    if (this.inserts) {
      row.splice(at.x, 0, ...Array.from({ length: width }, () => BLANK));
      row.length = this.columns;
    }
    row[at.x] = { text, style: this.style };
    if (width === 2) row[at.x + 1] = { text: "", style: this.style };
    at.x += width;
    if (at.x >= this.columns) {
      at.x = this.columns - 1;
      this.full = this.wraps;
    }
  }

  /** A control character. */
  control(code: number): void {
    const at = this.at;
    if (code === 8) at.x = Math.max(0, at.x - 1);
    else if (code === 9) at.x = Math.min(this.columns - 1, (Math.floor(at.x / 8) + 1) * 8);
    else if (code === 10 || code === 11 || code === 12) this.lineFeed();
    else if (code === 13) at.x = 0;
    else if (code === 14) this.boxes = true;
    else if (code === 15) this.boxes = false;
    else return;
    this.full = false;
  }

  private lineFeed(): void {
    if (this.at.y === this.bottom) this.scrollUp(1);
    else if (this.at.y < this.lines - 1) this.at.y += 1;
  }

  private keep(row: Row): void {
    this.keptRows += 1;
    this.scrollback.push(row);
    if (this.scrollback.length > SCROLLBACK_MAX) this.scrollback.shift();
  }

  private scrollUp(count: number): void {
    for (let done = 0; done < Math.min(count, this.lines); done += 1) {
      const [row] = this.rows.splice(this.top, 1);
      if (row && this.top === 0 && !this.alternate) this.keep(row);
      this.rows.splice(this.bottom, 0, this.blankRow());
    }
  }

  private scrollDown(count: number): void {
    for (let done = 0; done < Math.min(count, this.lines); done += 1) {
      this.rows.splice(this.bottom, 1);
      this.rows.splice(this.top, 0, this.blankRow());
    }
  }

  /** `ESC final`, with what stands between. */
  escape(between: string, final: string): void {
    if (between === "(") this.boxes = final === "0";
    if (between) return;
    if (final === "7") this.save();
    else if (final === "8") this.restore();
    else if (final === "D") this.lineFeed();
    else if (final === "E") (this.at.x = 0), this.lineFeed();
    else if (final === "M") this.at.y === this.top ? this.scrollDown(1) : (this.at.y = Math.max(0, this.at.y - 1));
    else if (final === "c") this.reset();
    this.full = false;
  }

  private save(): void {
    this.saved = { x: this.at.x, y: this.at.y, style: this.style };
  }

  private restore(): void {
    this.at.x = Math.min(this.saved.x, this.columns - 1);
    this.at.y = Math.min(this.saved.y, this.lines - 1);
    this.style = this.saved.style;
  }

  reset(): void {
    this.style = PLAIN;
    this.alternate = undefined;
    this.main = this.buffer();
    this.scrollback.length = 0;
    this.top = 0;
    this.bottom = this.lines - 1;
    this.wraps = this.cursorShown = true;
    this.inserts = this.fromTop = this.full = this.boxes = this.applicationCursor = this.bracketedPaste = false;
  }

  /** `CSI parameters final`; `mark` is `?`, `>` or nothing. */
  sequence(mark: string, parameters: number[], final: string): void {
    if (mark === "?") {
      if (final === "h" || final === "l") for (const mode of parameters) this.privateMode(mode, final === "h");
      return;
    }
    if (mark) {
      if (mark === ">" && final === "c") this.reply("\x1b[>0;0;0c");
      return;
    }
    const first = parameters[0] ?? 0;
    const count = Math.max(1, first);
    if (final === "m") {
      this.style = select(this.style, parameters.length > 0 ? parameters : [0]);
      return;
    }
    if (!this.move(final, count, parameters)) this.change(final, first, count, parameters);
    this.full = false;
  }

  private move(final: string, count: number, parameters: number[]): boolean {
    const at = this.at;
    const last = { x: this.columns - 1, y: this.lines - 1 };
    const row = (value: number) => {
      const base = this.fromTop ? this.top : 0;
      at.y = Math.min(this.fromTop ? this.bottom : last.y, base + Math.max(0, value));
    };
    switch (final) {
      case "A": at.y = Math.max(at.y >= this.top ? this.top : 0, at.y - count); break;
      case "B": case "e": at.y = Math.min(at.y <= this.bottom ? this.bottom : last.y, at.y + count); break;
      case "C": case "a": at.x = Math.min(last.x, at.x + count); break;
      case "D": at.x = Math.max(0, at.x - count); break;
      case "E": at.x = 0; at.y = Math.min(last.y, at.y + count); break;
      case "F": at.x = 0; at.y = Math.max(0, at.y - count); break;
      case "G": case "`": at.x = Math.min(last.x, count - 1); break;
      case "H": case "f":
        row((parameters[0] || 1) - 1);
        at.x = Math.min(last.x, (parameters[1] || 1) - 1);
        break;
      case "d": row(count - 1); break;
      case "s": this.save(); break;
      case "u": this.restore(); break;
      default: return false;
    }
    return true;
  }

  private change(final: string, first: number, count: number, parameters: number[]): void {
    const at = this.at;
    const row = this.rows[at.y]!;
    const blank = this.blankRow();
    switch (final) {
      case "J": this.eraseScreen(first); break;
      case "K": this.eraseRow(first); break;
      case "X": row.splice(at.x, Math.min(count, this.columns - at.x), ...blank.slice(0, Math.min(count, this.columns - at.x))); break;
      case "P":
        row.splice(at.x, count);
        row.push(...blank.slice(0, this.columns - row.length));
        break;
      case "@":
        row.splice(at.x, 0, ...blank.slice(0, Math.min(count, this.columns)));
        row.length = this.columns;
        break;
      case "L": case "M": this.shiftRows(final === "L", count); break;
      case "S": this.scrollUp(count); break;
      case "T": this.scrollDown(count); break;
      case "h": case "l": if (parameters.includes(4)) this.inserts = final === "h"; break;
      case "r": {
        const top = (parameters[0] || 1) - 1;
        const bottom = Math.min(this.lines, parameters[1] || this.lines) - 1;
        if (top < bottom) {
          [this.top, this.bottom] = [top, bottom];
          at.x = 0;
          at.y = this.fromTop ? top : 0;
        }
        break;
      }
      case "n":
        if (first === 6) this.reply(`\x1b[${at.y + 1};${this.x + 1}R`);
        else if (first === 5) this.reply("\x1b[0n");
        break;
      case "c": this.reply("\x1b[?1;2c"); break;
    }
  }

  private eraseRow(what: number): void {
    const { x, y } = this.at;
    const row = this.rows[y]!;
    const [from, to] = what === 0 ? [x, this.columns] : what === 1 ? [0, x + 1] : [0, this.columns];
    const blank = this.blankRow();
    for (let index = from; index < Math.min(to, this.columns); index += 1) row[index] = blank[index]!;
  }

  private eraseScreen(what: number): void {
    if (what === 3) {
      this.scrollback.length = 0;
      return;
    }
    const { y } = this.at;
    if (what < 2) this.eraseRow(what);
    const [from, to] = what === 0 ? [y + 1, this.lines] : what === 1 ? [0, y] : [0, this.lines];
    for (let index = from; index < to; index += 1) this.rows[index] = this.blankRow();
  }

  private shiftRows(down: boolean, count: number): void {
    const { y } = this.at;
    if (y < this.top || y > this.bottom) return;
    const top = this.top;
    this.top = y;
    // Rows that move within the screen are not history.
    for (let done = 0; done < Math.min(count, this.bottom - y + 1); done += 1) {
      this.rows.splice(down ? this.bottom : y, 1);
      this.rows.splice(down ? y : this.bottom, 0, this.blankRow());
    }
    this.top = top;
    this.at.x = 0;
  }

  private privateMode(mode: number, on: boolean): void {
    if (mode === 1) this.applicationCursor = on;
    else if (mode === 6) this.fromTop = on;
    else if (mode === 7) this.wraps = on;
    else if (mode === 25) this.cursorShown = on;
    else if (mode === 2004) this.bracketedPaste = on;
    else if (mode === 1048) on ? this.save() : this.restore();
    else if (mode === 47 || mode === 1047 || mode === 1049) this.switchTo(on, mode === 1049);
  }

  private switchTo(alternate: boolean, withCursor: boolean): void {
    if (alternate === this.isAlternate) return;
    if (alternate) {
      if (withCursor) this.save();
      this.alternate = this.buffer();
    } else {
      this.alternate = undefined;
      if (withCursor) this.restore();
    }
    this.top = 0;
    this.bottom = this.lines - 1;
  }
}
