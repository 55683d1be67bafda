// Turns the built site into what the API server embeds: gzipped files and `files.rs`, a table of them, with hashes over the
// sources, by which a test knows that the bundle is what the sources give.

import { createHash } from "node:crypto";
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { gzipSync } from "node:zlib";
import type { Plugin } from "vite";

/** Everything that the bundle is made of; the test in apiserver/server/src/ui/ reads the same names. */
const SOURCES = ["build", "index.html", "package-lock.json", "package.json", "public", "src", "tsconfig.json", "vite.config.ts"];
/** The bound on all files together as they are sent, in bytes. */
const BYTES_MAX = 600 * 1024;

const TYPES: Record<string, string> = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
  ".txt": "text/plain; charset=utf-8",
  ".woff2": "font/woff2",
};

const sha256 = (bytes: Uint8Array | string) => createHash("sha256").update(bytes).digest("hex");

function filesUnder(path: string): string[] {
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path).sort().flatMap((name) => filesUnder(join(path, name)));
}

/** One hash over all sources: of the lines `HASH  PATH`, sorted by path. */
export function sourcesHash(root: string): string {
  const files = SOURCES.flatMap((name) => filesUnder(join(root, name)));
  const paths = files.map((file) => relative(root, file).split(sep).join("/")).sort((a, b) => (a < b ? -1 : 1));
  return sha256(paths.map((path) => `${sha256(readFileSync(join(root, path)))}  ${path}\n`).join(""));
}

function entry(dist: string, path: string): { text: string; sent: number } {
  const file = join(dist, path);
  const bytes = readFileSync(file);
  const type = TYPES[path.slice(path.lastIndexOf("."))];
  if (!type) throw new Error(`${path}: no content type is known for it`);
  const gzip = !path.endsWith(".woff2");
  const sent = gzip ? gzipSync(bytes, { level: 9 }) : bytes;
  if (gzip) {
    writeFileSync(`${file}.gz`, sent);
    rmSync(file);
  }
  const text = [
    "    File {",
    `        path: "${path}",`,
    `        content_type: "${type}",`,
    `        sha256: "${sha256(bytes)}",`,
    `        is_gzip: ${gzip},`,
    `        bytes: include_bytes!("${path}${gzip ? ".gz" : ""}"),`,
    "    },",
  ];
  return { text: text.join("\n"), sent: sent.length };
}

export function embed(root: string): Plugin {
  return {
    name: "mainstay-embed",
    apply: "build",
    closeBundle() {
      const dist = join(root, "dist");
      const paths = filesUnder(dist).map((file) => relative(dist, file).split(sep).join("/"));
      const entries = paths.sort().map((path) => entry(dist, path));
      const total = entries.reduce((sum, one) => sum + one.sent, 0);
      if (total > BYTES_MAX) throw new Error(`the dashboard takes ${total} bytes, more than ${BYTES_MAX}`);
      const table = [
        "//! The files of the dashboard. Written by `npm run build` in dashboard/; never by hand.",
        "",
        "use super::file::File;",
        "",
        "/// A hash over what these files were made of.",
        "#[cfg(test)]",
        `pub(super) const SOURCES_SHA256: &str = "${sourcesHash(root)}";`,
        "",
        "/// All of them.",
        "pub(super) static FILES: &[File] = &[",
        ...entries.map((one) => one.text),
        "];",
        "",
      ];
      writeFileSync(join(dist, "files.rs"), table.join("\n"));
      console.log(`embedded ${paths.length} files, ${(total / 1024).toFixed(1)} KiB as sent`);
    },
  };
}
