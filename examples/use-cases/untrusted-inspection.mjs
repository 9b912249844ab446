// A project that means harm: its install hook reads keys, follows a link to your files, and calls out. It is let loose in
// a machine without a network; what comes home is a report, and this host is shown to be as it was.
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { environment, expect, say, sayCreated, useCase } from "./support.mjs";

// What it is after: a key of yours, and a service that listens on this host. The attacker knows where they are.
const home = mkdtempSync(join(tmpdir(), "pyro-home-"));
const key = join(home, "id_ed25519");
writeFileSync(key, "the key of this host\n", { mode: 0o600 });
const asItWas = look();
let calls = 0;
const service = createServer((socket) => {
  calls += 1;
  socket.destroy();
});
await new Promise((resolve) => service.listen(0, "127.0.0.1", resolve));

function prepare(checkout) {
  writeFileSync(join(checkout, "target.json"), JSON.stringify({ key, port: service.address().port }));
  symlinkSync(key, join(checkout, "notes.txt"));
}

/** What it would change: the key, and what runs at your next login. */
function look() {
  return [key, join(homedir(), ".profile")]
    .filter((path) => existsSync(path))
    .map((path) => `${path} ${statSync(path).mode} ${statSync(path).mtimeMs} ${readFileSync(path, "utf8")}`)
    .join("\n");
}

try {
  await useCase("untrusted-inspection", { project: "hostile", prepare }, async ({ pyro, create, exec }) => {
    const created = await create({ environment: environment(), name: "untrusted" });
    sayCreated(created);
    const { workspaceId } = created;
    const { entries } = await pyro.listWorkspaceFiles({ workspaceId, path: "/workspace" });
    const link = entries.find(({ artifactType }) => artifactType === "symlink");
    expect(link?.linkTarget === key, "the link is not as it came");
    say(`the tree: ${entries.length} entries; notes.txt is a link to a file of the host`);
    const hook = await pyro.readWorkspaceFile({ workspaceId, path: "setup.py" });
    expect(hook.data.toString().includes("create_connection"), "setup.py is another");
    say("setup.py calls out when it is loaded");

    const { text } = await exec(workspaceId, "python3 setup.py --version 2>&1 | tee REPORT.md");
    // In its own machine it may do what it likes.
    for (const what of ["read your key", "read your key by the link", "call home", "call a service of yours"])
      expect(text.includes(`hook: ${what} failed`), `the hook could ${what}`);
    expect(!text.includes("the key of this host"), "the key was read");

    const outputPath = join(home, "REPORT.md");
    const exported = await pyro.exportWorkspace({ workspaceId, path: "REPORT.md", outputPath });
    expect(exported?.artifactType === "file", "the report is no file");
    say("exported REPORT.md");
    await pyro.deleteWorkspace(workspaceId);
    say("deleted");
  });
  expect(look() === asItWas, "the key or ~/.profile was changed");
  expect(calls === 0, `the service of this host was called ${calls} times`);
  say("this host: the key and ~/.profile are as they were, and nobody called its service");
} finally {
  service.close();
  rmSync(home, { recursive: true });
}
