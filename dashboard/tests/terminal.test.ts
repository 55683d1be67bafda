import { expect, test } from "vitest";

import { keyBytes } from "../src/terminal/keys.ts";
import { Parser } from "../src/terminal/parser.ts";
import { Screen } from "../src/terminal/screen.ts";
import { css } from "../src/terminal/style.ts";

function shown(columns: number, lines: number, text: string, screen = new Screen(columns, lines)): Screen {
  new Parser(screen).write(new TextEncoder().encode(text));
  return screen;
}
const rows = (screen: Screen) => screen.rows.map((row) => row.map((cell) => cell.text).join("").trimEnd());

test("text wraps at the last column and scrolls into the history", () => {
  const screen = shown(4, 2, "abcdef\r\nxy\r\nz");
  expect(rows(screen)).toEqual(["xy", "z"]);
  expect(screen.scrollback.map((row) => row.map((cell) => cell.text).join("").trimEnd())).toEqual(["abcd", "ef"]);
});

test("the last column is written before the row is left", () => {
  const screen = shown(4, 2, "abcd");
  expect([screen.x, screen.y]).toEqual([3, 0]);
  expect(rows(shown(4, 2, "abcd\rX"))).toEqual(["Xbcd", ""]);
});

test("the cursor moves, and what it erases is gone", () => {
  expect(rows(shown(6, 3, "one\r\ntwo\r\nthree\x1b[2;2H\x1b[K"))).toEqual(["one", "t", "three"]);
  expect(rows(shown(6, 3, "one\r\ntwo\x1b[2J"))).toEqual(["", "", ""]);
  expect(rows(shown(6, 2, "abcdef\x1b[1;2H\x1b[2P"))).toEqual(["adef", ""]);
  expect(rows(shown(6, 2, "abcd\x1b[1;2H\x1b[2@"))).toEqual(["a  bcd", ""]);
});

test("rows are inserted and deleted within the scrolling region only", () => {
  expect(rows(shown(3, 4, "1\r\n2\r\n3\r\n4\x1b[2;3r\x1b[2;1H\x1b[L"))).toEqual(["1", "", "2", "4"]);
  expect(rows(shown(3, 4, "1\r\n2\r\n3\r\n4\x1b[2;3r\x1b[2;1H\x1b[M"))).toEqual(["1", "3", "", "4"]);
  expect(rows(shown(3, 4, "1\r\n2\r\n3\r\n4\x1b[1;3r\x1b[3;1H\n"))).toEqual(["2", "3", "", "4"]);
});

test("an editor's screen leaves the shell's as it was", () => {
  const screen = shown(6, 2, "shell\x1b[?1049h\x1b[Hvi\x1b[?1049l!");
  expect(rows(screen)).toEqual(["shell!", ""]);
});

test("colours and weights are kept by cell", () => {
  const [row] = shown(10, 1, "\x1b[1;31mA\x1b[38;5;200mB\x1b[48;2;1;2;3mC\x1b[0mD").rows;
  expect(row!.slice(0, 4).map((cell) => [cell.style.fg, cell.style.bg, cell.style.bold])).toEqual([
    [1, -1, true],
    [200, -1, true],
    [200, 0x1010203, true],
    [-1, -1, false],
  ]);
  expect([css(16), css(231), css(255), css(0x1010203)]).toEqual(["rgb(0 0 0)", "rgb(255 255 255)", "rgb(238 238 238)", "#010203"]);
});

test("sequences in pieces, titles and nonsense leave no trace", () => {
  const screen = new Screen(10, 2);
  const parser = new Parser(screen);
  for (const part of ["a\x1b", "[3", "1mb\x1b]0;title", "\x07c\x1b[999;999;zd\x1bPx\x1b\\e", "\x1b[?77h\x1b[>q\x1b[!pf"]) parser.write(new TextEncoder().encode(part));
  expect(rows(screen)[0]).toBe("abcdef");
  const bytes = new TextEncoder().encode("é");
  parser.write(bytes.subarray(0, 1));
  parser.write(bytes.subarray(1));
  expect(rows(screen)[0]).toBe("abcdefé");
});

test("any bytes are taken", () => {
  let seed = 42;
  const random = () => (seed = (seed * 1103515245 + 12345) % 2147483648);
  const screen = new Screen(20, 5);
  const parser = new Parser(screen);
  const pieces = ["\x1b[", "\x1b", ";", "?", "m", "H", "L", "M", "P", "@", "X", "r", "J", "K", "S", "T", "\n", "\r", "\b", "\t", "界", "a", "9", "1", "\x1b[?1049h", "\x1b[?1049l", "\x1b[4h", "h", "l"];
  for (let step = 0; step < 20_000; step += 1) {
    parser.write(new TextEncoder().encode(pieces[random() % pieces.length]!));
    if (step % 500 === 0) screen.resize(5 + (random() % 40), 1 + (random() % 12));
  }
  expect(screen.rows.length).toBe(screen.lines);
  for (const row of screen.rows) {
    expect(row.length).toBe(screen.columns);
    expect(row.every((cell) => cell && typeof cell.text === "string")).toBe(true);
  }
});

test("wide characters take two cells", () => {
  const screen = shown(5, 2, "界a界界");
  expect(rows(screen)).toEqual(["界a界", "界"]);
});

test("the terminal answers where its cursor is", () => {
  const screen = new Screen(10, 5);
  const said: string[] = [];
  screen.reply = (text) => said.push(text);
  shown(10, 5, "ab\r\ncd\x1b[6n\x1b[c", screen);
  expect(said).toEqual(["\x1b[2;3R", "\x1b[?1;2c"]);
});

test("a smaller window keeps the rows at the cursor", () => {
  const screen = shown(5, 4, "1\r\n2\r\n3\r\n4");
  screen.resize(5, 2);
  expect(rows(screen)).toEqual(["3", "4"]);
  expect(screen.scrollback.length).toBe(2);
  screen.resize(8, 3);
  expect(rows(screen)).toEqual(["3", "4", ""]);
});

test("keys become what xterm sends", () => {
  const screen = new Screen(10, 5);
  const key = (key: string, more: Partial<KeyboardEvent> = {}) => keyBytes({ key, ...more } as KeyboardEvent, screen);
  expect(key("ArrowUp")).toBe("\x1b[A");
  expect(key("ArrowRight", { ctrlKey: true })).toBe("\x1b[1;5C");
  expect(key("c", { ctrlKey: true })).toBe("\x03");
  expect(key("C", { ctrlKey: true, shiftKey: true })).toBeUndefined();
  expect(key("b", { altKey: true })).toBe("\x1bb");
  expect(key("Enter")).toBe("\r");
  expect(key("a")).toBeUndefined();
  shown(10, 5, "\x1b[?1h", screen);
  expect(key("ArrowUp")).toBe("\x1bOA");
});
