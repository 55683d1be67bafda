// How a cell looks. Colours: -1 the default, 0..255 the palette, from RGB on 24 bits of red, green and blue.

export const RGB = 0x1000000;

export interface Style {
  readonly fg: number;
  readonly bg: number;
  readonly bold: boolean;
  readonly dim: boolean;
  readonly italic: boolean;
  readonly underline: boolean;
  readonly inverse: boolean;
  readonly strike: boolean;
}

export const PLAIN: Style = {
  fg: -1, bg: -1, bold: false, dim: false, italic: false, underline: false, inverse: false, strike: false,
};

/** Applies the numbers of an SGR sequence. */
export function select(style: Style, parameters: number[]): Style {
  let next = style;
  for (let index = 0; index < parameters.length; index += 1) {
    const code = parameters[index]!;
    if (code === 38 || code === 48) {
      const [colour, used] = extended(parameters, index + 1);
      if (colour >= 0) next = code === 38 ? { ...next, fg: colour } : { ...next, bg: colour };
      index += used;
    } else {
      next = simple(next, code);
    }
  }
  return next;
}

function simple(style: Style, code: number): Style {
  if (code >= 30 && code <= 37) return { ...style, fg: code - 30 };
  if (code >= 40 && code <= 47) return { ...style, bg: code - 40 };
  if (code >= 90 && code <= 97) return { ...style, fg: code - 82 };
  if (code >= 100 && code <= 107) return { ...style, bg: code - 92 };
  switch (code) {
    case 0: return PLAIN;
    case 1: return { ...style, bold: true };
    case 2: return { ...style, dim: true };
    case 3: return { ...style, italic: true };
    case 4: return { ...style, underline: true };
    case 7: return { ...style, inverse: true };
    case 9: return { ...style, strike: true };
    case 22: return { ...style, bold: false, dim: false };
    case 23: return { ...style, italic: false };
    case 24: return { ...style, underline: false };
    case 27: return { ...style, inverse: false };
    case 29: return { ...style, strike: false };
    case 39: return { ...style, fg: -1 };
    case 49: return { ...style, bg: -1 };
    default: return style;
  }
}

/** The colour after 38 or 48, and how many numbers it took. */
function extended(parameters: number[], from: number): [number, number] {
  const byte = (at: number) => Math.min(255, Math.max(0, parameters[at] ?? 0));
  if (parameters[from] === 5) return [byte(from + 1), 2];
  if (parameters[from] === 2) return [RGB | (byte(from + 1) << 16) | (byte(from + 2) << 8) | byte(from + 3), 4];
  return [-1, 1];
}

/** A colour of the palette from 16 on, or of 24 bits, as CSS; the first 16 are the theme's. */
export function css(colour: number): string {
  if (colour >= RGB) return `#${(colour & 0xffffff).toString(16).padStart(6, "0")}`;
  if (colour >= 232) {
    const grey = 8 + (colour - 232) * 10;
    return `rgb(${grey} ${grey} ${grey})`;
  }
  const level = (value: number) => (value === 0 ? 0 : 55 + value * 40);
  const index = colour - 16;
  return `rgb(${level(Math.floor(index / 36))} ${level(Math.floor(index / 6) % 6)} ${level(index % 6)})`;
}
