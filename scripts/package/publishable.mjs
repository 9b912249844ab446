// `npm publish` asks this first: what only whoever publishes knows must stand in the place of its placeholder.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const open = ["package.json", "plugins/mcp-registry/server.json"].filter((file) =>
  /\bOWNER\b/.test(readFileSync(join(root, file), "utf8")),
);
if (open.length > 0) {
  process.stderr.write(
    `publish: OWNER is a placeholder in ${open.join(" and ")}\n  hint: put the owner of the repository there, as docs/plugins.md says\n`,
  );
  process.exitCode = 1;
}
