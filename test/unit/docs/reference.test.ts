import { join } from "node:path";
import { expect, test } from "vitest";
import { cliPage } from "../../../scripts/docs/cli-page.js";
import { troubleshootingPage } from "../../../scripts/docs/error-index.js";
import { mcpPage } from "../../../scripts/docs/mcp-page.js";
import { sdkPage } from "../../../scripts/docs/sdk-page.js";
import { allDeclarations } from "../../../src/operations/index.js";
import { ROOT } from "./markdown.js";

// `make docs-reference` writes them anew: it is this test with --update.
test.each([
  ["reference/cli.md", cliPage],
  ["reference/mcp-tools.md", mcpPage],
  ["reference/sdk.md", sdkPage],
  ["troubleshooting.md", troubleshootingPage],
])("docs/%s is what the sources give", async (page, make) => {
  await expect(await make()).toMatchFileSnapshot(join(ROOT, "docs", page));
});

test("every command and every tool of the table is in the reference", async () => {
  const [cli, mcp] = await Promise.all([cliPage(), mcpPage()]);
  for (const { name, command, profiles } of await allDeclarations()) {
    if (command.length > 0) expect(cli).toContain(`## pyro ${command.join(" ")}\n`);
    if (profiles.length > 0) expect(mcp).toContain(`## ${name}\n`);
  }
});
