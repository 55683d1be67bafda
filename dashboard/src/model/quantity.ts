// Kubernetes quantities as numbers, and numbers as short text.

const SUFFIXES: Record<string, number> = {
  n: 1e-9, u: 1e-6, m: 1e-3, "": 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, E: 1e18,
  Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40, Pi: 2 ** 50, Ei: 2 ** 60,
};

/** `500m`, `1Gi`, `1e3`; 0 for what is none. */
export function quantity(text: unknown): number {
  const found = /^([+-]?[\d.]+(?:[eE][+-]?\d+)?)([A-Za-z]*)$/.exec(String(text ?? "").trim());
  if (!found) return 0;
  const scale = SUFFIXES[found[2]!];
  return scale === undefined ? 0 : Number(found[1]) * scale;
}

/** Binary units: `8 MiB`. */
export function bytes(value: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  let left = value;
  while (left >= 1024 && unit < units.length - 1) {
    left /= 1024;
    unit += 1;
  }
  return `${short(left)} ${units[unit]}`;
}

/** Three digits at most: `0.25`, `1.5`, `120`. */
export function short(value: number): string {
  if (value === 0) return "0";
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return String(Number(value.toFixed(digits)));
}

export const cores = (value: number) => `${short(value)} ${value === 1 ? "core" : "cores"}`;

export const percent = (part: number, whole: number) => (whole > 0 ? Math.round((part / whole) * 100) : 0);
