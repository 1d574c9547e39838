// Bundles vendor.js, and gathers the licences of everything that went in.
import { build } from "esbuild";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";

const folder = "../page/vendor";
const result = await build({
  entryPoints: ["vendor.js"], bundle: true, minify: true, format: "iife", globalName: "vendor",
  target: "es2021", legalComments: "none", metafile: true, charset: "utf8", outfile: `${folder}/vendor.min.js`,
});
const packages = [...new Set(Object.keys(result.metafile.inputs)
  .map((path) => path.match(/^node_modules\/((?:@[^/]+\/)?[^/]+)/)?.[1]).filter(Boolean))].sort();
const licences = packages.map((name) => {
  const { version, license } = JSON.parse(readFileSync(`node_modules/${name}/package.json`));
  const file = readdirSync(`node_modules/${name}`).find((entry) => /^licen[cs]e/i.test(entry));
  return `${name} ${version} (${license}), https://www.npmjs.com/package/${name}\n\n`
    + readFileSync(`node_modules/${name}/${file}`, "utf8").trim();
});
writeFileSync(`${folder}/LICENSES.txt`,
  "vendor.min.js bundles parts of these packages, unchanged but for minification (see propensity/viewing/web in the sources).\n\n"
  + licences.join(`\n\n${"-".repeat(78)}\n\n`) + "\n");
console.log(packages.join(" "));
