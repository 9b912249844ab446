#!/usr/bin/env node
// What `npm pack` does first: builds what is not current, and writes THIRD-PARTY-NOTICES.md and sbom.cdx.json of it.
// `--check` writes nothing, and fails where a part is under a licence that is not agreed to, or has no text of it.
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { notices } from "./notices.mjs";
import { objections, parts } from "./parts.mjs";
import { sbom } from "./sbom.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
const check = process.argv.includes("--check");

if (!check) {
  for (const script of ["scripts/build.mjs", "runtime/build.mjs"])
    execFileSync(process.execPath, [join(root, script)], { cwd: root, stdio: ["ignore", 2, 2] });
}
const found = parts();
const bad = objections(found);
if (bad.length > 0) {
  console.error(`package: what is in it may not be passed on as it is\n${bad.join("\n")}`);
  process.exitCode = 1;
} else if (check) {
  console.error(
    `package: ${found.length} parts of others, each under a licence that is agreed to, with its text`,
  );
} else {
  writeFileSync(join(root, "THIRD-PARTY-NOTICES.md"), notices(found));
  writeFileSync(join(root, "sbom.cdx.json"), `${JSON.stringify(sbom(found), null, 2)}\n`);
}
