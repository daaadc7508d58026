// Builds the dashboard into the Python package. Nothing is fetched at run time: everything is bundled.
import { createHash } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { join, relative } from "node:path";
import { defineConfig, type Plugin } from "vite";

const BUNDLED = ["echarts", "zrender", "tslib", "preact", "@preact/signals", "@preact/signals-core"];

/** Every file the page is made from; tests/browser/test_assets.py hashes the same list in the same way. */
function sources(folder: string): string[] {
  const found = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
  return [...found, "index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts"].sort();
}

/** Puts beside the page the licences of what it bundles, and the hash of the sources it was built from. */
function attachments(): Plugin {
  return {
    name: "attachments",
    generateBundle() {
      const digest = createHash("sha256");
      for (const file of sources("src")) {
        digest.update(relative(".", file).replaceAll("\\", "/") + "\0").update(readFileSync(file)).update("\0");
      }
      const build = { sources_sha256: digest.digest("hex") };
      this.emitFile({ type: "asset", fileName: "build.json", source: JSON.stringify(build) + "\n" });
      const parts = BUNDLED.map((name) => {
        const folder = join("node_modules", name);
        const about = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
        const texts = readdirSync(folder, { recursive: true, withFileTypes: true })
          .filter((entry) => entry.isFile() && /^(licen[cs]e|notice|copyrightnotice)[^/]*$/i.test(entry.name))
          .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
          .filter((file) => !file.includes("node_modules")).sort();
        const body = texts.map((file) => readFileSync(join(folder, file), "utf8").trim()).join("\n\n");
        return `${about.name} ${about.version} (${about.license})\n${"=".repeat(72)}\n${body}\n`;
      });
      this.emitFile({ type: "asset", fileName: "LICENSES.txt", source: parts.join("\n\n") });
    },
  };
}

export default defineConfig({
  base: "./",
  publicDir: false,
  plugins: [attachments()],
  build: {
    outDir: "../opendt/api/static",
    emptyOutDir: true,
    target: "es2022",
    minify: "terser",
    terserOptions: { compress: { passes: 3, keep_fargs: false, ecma: 2020 }, mangle: true },
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 540,
    rollupOptions: { output: { entryFileNames: "assets/[name]-[hash].js", chunkFileNames: "assets/[name]-[hash].js",
      assetFileNames: "assets/[name]-[hash][extname]" } },
  },
});
