// Reads what a program writes to its terminal: text, control characters, escape sequences. Total: any bytes are fine.

import type { Screen } from "./screen.ts";

type Place = "ground" | "escape" | "sequence" | "string" | "stringEnd";

/** More numbers, or longer ones, are no sequence that a terminal knows. */
const PARAMETERS_MAX = 64;

export class Parser {
  private place: Place = "ground";
  private mark = "";
  private between = "";
  private digits = "";
  private readonly decoder = new TextDecoder();

  constructor(private readonly screen: Screen) {}

  write(bytes: Uint8Array): void {
    for (const char of this.decoder.decode(bytes, { stream: true })) this.take(char);
  }

  private take(char: string): void {
    const code = char.codePointAt(0)!;
    if (this.place === "string" || this.place === "stringEnd") {
      // Titles and the like, until BEL or ESC \.
      if (code === 7 || (this.place === "stringEnd" && char === "\\") || code === 0x18 || code === 0x1a) this.place = "ground";
      else this.place = code === 27 ? "stringEnd" : "string";
      return;
    }
    if (code === 27) this.begin("escape");
    else if (code === 0x18 || code === 0x1a) this.place = "ground";
    else if (code < 32) this.screen.control(code);
    else if (code === 127) return;
    else if (this.place === "ground") this.screen.print(char);
    else if (this.place === "escape") this.escape(char, code);
    else this.sequence(char, code);
  }

  private begin(place: Place): void {
    this.place = place;
    this.mark = this.between = this.digits = "";
  }

  private escape(char: string, code: number): void {
    if (char === "[") this.begin("sequence");
    else if ("]PX^_".includes(char)) this.place = "string";
    else if (code < 48) this.between += char;
    else {
      this.place = "ground";
      this.screen.escape(this.between, char);
    }
  }

  private sequence(char: string, code: number): void {
    if (code >= 64) {
      this.place = "ground";
      if (code > 126 || this.between) return;
      const numbers = this.digits ? this.digits.split(/[;:]/).slice(0, PARAMETERS_MAX) : [];
      const parameters = numbers.map((text) => Math.min(65535, Number(text) || 0));
      this.screen.sequence(this.mark, parameters, char);
    } else if (code >= 60) this.mark = char;
    else if (code < 48) this.between += char;
    else if (this.digits.length < 512) this.digits += char;
  }
}
