/** What takes longer than a call may, and what never answers, through the tools of a chat host. */
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer as createHttpServer } from "node:http";
import { createServer, type AddressInfo, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { mcpSession } from "./mcp-session.js";
import { json, machinesOf, pyro, testState, type TestState } from "./support.js";

/** PYRO_TEST_FILES=200000 is the long form, run by hand: 140 s under software emulation on 2 cores. */
const FILES = Number(process.env["PYRO_TEST_FILES"] ?? 12_000);

let state: TestState;
let directory: string;
beforeAll(async () => {
  state = await testState();
  directory = await mkdtemp(join(tmpdir(), "pyro-project-"));
});
afterAll(async () => {
  await rm(directory, { recursive: true, force: true });
  await state[Symbol.asyncDispose]();
});

const nothingLeft = async (): Promise<void> => {
  expect(await readdir(join(state.path, "workspaces"))).toEqual([]);
  expect(await machinesOf(state.path)).toEqual([]);
};
const portOf = (server: Server): number => (server.address() as AddressInfo).port;

async function daemonMib(key: "VmRSS" | "VmHWM"): Promise<number> {
  const { pid } = json(await pyro(["daemon", "status", "--json"], { stateDir: state.path }));
  const status = await readFile(`/proc/${String(pid)}/status`, "utf8");
  return Math.round(Number(new RegExp(`^${key}:\\s+(\\d+)`, "m").exec(status)?.[1]) / 1024);
}

describe("A chat host", () => {
  it(
    `seeds ${FILES} files: each call answers in time, says how far it is, and the daemon stays small`,
    {
      timeout: 600_000,
    },
    async () => {
      const seed = join(directory, "seed");
      for (let index = 0; index < FILES; index++) {
        const parent = join(
          seed,
          `package-${Math.floor(index / 1000)}`,
          `lib-${Math.floor(index / 50) % 20}`,
        );
        if (index % 50 === 0) await mkdir(parent, { recursive: true });
        await writeFile(join(parent, `module-${index}.js`), `export const value = ${index};\n`);
      }
      await using host = await mcpSession({ stateDir: state.path, cwd: directory });
      await host.call("workspace_list");
      const before = await daemonMib("VmRSS");
      const begun = performance.now();
      // The client gives up on a call after 50 s.
      let answer = await host.call("workspace_create", { seed_path: "seed" });
      const workspace_id = String(answer.record["workspace_id"]);
      let calls = 1;
      for (; answer.record["state"] === "creating"; calls++) {
        expect(answer.words).toMatch(
          /^still running: create of ws-\w+: (copying files: \d+ entries|sealing)/,
        );
        expect(answer.words).toContain(
          `next: workspace_status(workspace_id="${workspace_id}", wait_seconds=`,
        );
        answer = await host.call("workspace_status", { workspace_id, wait_seconds: 40 });
      }
      const seconds = Math.round((performance.now() - begun) / 1000);
      expect(answer.record).toMatchObject({ state: "started", workspace_seed: { mode: "directory" } });
      const peak = await daemonMib("VmHWM");
      console.log(
        `${FILES} files: ${seconds} s, ${calls} calls; daemon ${before} MiB before, at most ${peak} MiB`,
      );
      expect(peak - before).toBeLessThan(200);
      const counted = await host.call("workspace_exec", { workspace_id, command: "find . -type f | wc -l" });
      expect(counted.guest).toBe(`${FILES}\n`);
      const listed = await host.call("workspace_file_list", { workspace_id, recursive: true });
      expect(listed.words).toMatch(/\d+ more of entries are left out/);
      await host.call("workspace_delete", { workspace_id });
      await nothingLeft();
    },
  );

  it("whose repository needs a password is told so, and nothing of the workspace stays", async () => {
    const server = createHttpServer((_, response) => {
      response.writeHead(401, { "WWW-Authenticate": 'Basic realm="private"' }).end();
    }).listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const url = `http://127.0.0.1:${portOf(server)}/private.git`;
    await using host = await mcpSession({ stateDir: state.path, cwd: directory, flags: ["--repo-url", url] });
    const { isError, words } = await host.call("workspace_create");
    expect([isError, words]).toEqual([
      true,
      expect.stringMatching(
        /^REPOSITORY_UNREACHABLE: .*private\.git": .*uthentication failed.*\nhint: .*git clone/,
      ),
    ]);
    await nothingLeft();
    await new Promise((resolve) => server.close(resolve));
  });

  it(
    "whose repository never answers hears that it is waited for, and may delete what is on its way",
    { timeout: 120_000 },
    async () => {
      const server = createServer((socket) => socket.on("error", () => undefined).resume()).listen(
        0,
        "127.0.0.1",
      );
      await new Promise((resolve) => server.once("listening", resolve));
      const url = `http://127.0.0.1:${portOf(server)}/silent.git`;
      await using host = await mcpSession({
        stateDir: state.path,
        cwd: directory,
        flags: ["--repo-url", url],
      });
      const { isError, words, record } = await host.call("workspace_create");
      const workspace_id = String(record["workspace_id"]);
      expect([isError, record["state"]]).toEqual([false, "creating"]);
      expect(words).toMatch(/^still running: create of ws-\w+: /);
      expect(words).toContain(`next: workspace_status(workspace_id="${workspace_id}"`);
      const deleted = await host.call("workspace_delete", { workspace_id });
      expect([deleted.isError, deleted.record]).toEqual([false, expect.objectContaining({ deleted: true })]);
      await nothingLeft();
      await new Promise((resolve) => server.close(resolve));
    },
  );
});
