import { defineConfig } from "vite";
import { embed } from "./build/embed.ts";

// A page for the design work alone: `vite build --outDir X` with MAINSTAY_PLAIN=1, then `vite preview` before a cluster.
const plain = process.env["MAINSTAY_PLAIN"] === "1";
const cluster = process.env["MAINSTAY_URL"] ?? "https://127.0.0.1:6443";
const pass = { target: cluster, secure: false, ws: true, changeOrigin: false };

export default defineConfig({
  base: "/ui/",
  plugins: plain ? [] : [embed(import.meta.dirname)],
  build: {
    outDir: "dist",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0, // the content security policy has no room for data: scripts, styles and fonts
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  preview: {
    proxy: Object.fromEntries(
      ["/api", "/apis", "/readyz", "/livez", "/metrics", "/version", "/mainstay"].map((path) => [path, pass]),
    ),
  },
  test: { include: ["tests/**/*.test.ts"] },
} as Parameters<typeof defineConfig>[0]);
