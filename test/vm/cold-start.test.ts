/** Mode cold-start in real chat hosts: an unfamiliar repository is installed, its service started, asked, read and stopped. */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { checkoutOf } from "../chat-hosts/checkout.js";
import { CHAT_HOSTS } from "../chat-hosts/hosts.js";
import { HOMES, installHosts } from "../chat-hosts/installed.js";
import { SERVICE_PROJECT } from "../chat-hosts/service-project.js";
import { readingOf, type Reading } from "../chat-hosts/reading.js";
import { runHost } from "../chat-hosts/run-host.js";
import { eventually, json, machinesOf, processes, pyro, PYRO, testState, type TestState } from "./support.js";

const { claudeCode, codex, openCode } = CHAT_HOSTS;

let missing: string | undefined;
let state: TestState;
let home: string;
beforeAll(async () => {
  state = await testState();
  missing = await installHosts();
});
beforeEach(async ({ skip }) => {
  if (missing !== undefined) skip(missing);
  await mkdir(HOMES, { recursive: true });
  home = await mkdtemp(join(HOMES, "h-"));
  return () => rm(home, { recursive: true, force: true });
});
afterEach(async () => {
  // Only where a test failed there are any.
  for (const { workspace_id } of await workspaces())
    await pyro(["workspace", "delete", String(workspace_id)], { stateDir: state.path });
});
afterAll(() => state[Symbol.asyncDispose]());

it.for([claudeCode, codex, openCode].map((host) => [host.name, host] as const))(
  "%s installs a repository offline, starts its service, asks it, reads its logs, stops it and leaves nothing",
  async ([, host]) => {
    await using checkout = await checkoutOf(SERVICE_PROJECT.files);
    const before = await checkout.fingerprint();
    const serve = [PYRO, "--state-dir", state.path, "mcp", "serve", "--mode", "cold-start"];
    await runHost(host, {
      ...{ home, checkout: checkout.path, server: [process.execPath, ...serve] as const },
      serverEnv: { PYRO_POOL: "0" },
      script: (model) => validates(readingOf(host, model)),
    });
    await eventually(`${host.name} and its server have ended`, async () =>
      (await processes()).every(({ line, cwd }) => !line.includes(home) && !cwd.startsWith(checkout.path)),
    );
    for (const added of host.leaves) await rm(join(checkout.path, added));
    expect(await checkout.fingerprint()).toEqual(before);
    expect(await workspaces()).toEqual([]);
    expect(await machinesOf(state.path)).toEqual([]);
  },
);

async function validates({ host, call, load }: Reading): Promise<string> {
  const { install, command, url, greeting } = SERVICE_PROJECT;
  await load("service_stop", "workspace_delete");
  const created = await call("workspace_create");
  const [workspace_id = ""] = /ws-[0-9a-f]+/.exec(created.words) ?? [];
  const exec = async (line: string): Promise<string> => {
    const { words, guest } = await call("workspace_exec", { workspace_id, command: line });
    expect(words).toMatch(/^exit 0\n/);
    return guest;
  };
  expect(await exec(install)).toContain("/usr/local/bin/greeter");

  const service = { workspace_id, service_name: "greeter" };
  const readiness = { type: "http", url: `${url}/health` };
  const refused = await call("service_start", {
    ...service,
    command: `${command} --no-such-option`,
    readiness,
  });
  expect(refused.words).toMatch(
    /^SERVICE_FAILED: service greeter failed: it ended with exit code 2 before it was ready/,
  );
  expect(refused.words).toContain("unrecognized arguments: --no-such-option");

  const started = await call("service_start", { ...service, command, readiness });
  if (host.showsRecordsAs === "text") expect(started.words).toMatch(/^service +greeter\nstate +running\n/);
  else
    expect(JSON.parse(started.words)).toMatchObject({ service_name: "greeter", state: "running", readiness });

  expect(await exec(`curl -fsS ${url}/`)).toBe(greeting);
  const logs = await call("service_logs", service);
  expect(logs.words).toMatch(
    /^service greeter is running\nstdout: \d+ bytes, all below\nstderr: \d+ bytes, all below$/,
  );
  expect(logs.guest).toContain("greeter listens on 8080\n");

  const stopped = await call("service_stop", service);
  expect(stopped.words).toMatch(host.showsRecordsAs === "text" ? /^state +stopped$/m : /"state":"stopped"/);
  expect((await call("workspace_delete", { workspace_id })).words).toContain("deleted");
  return "It installs, and it answers.";
}

async function workspaces(): Promise<Record<string, unknown>[]> {
  const listed = await pyro(["workspace", "list", "--json"], { stateDir: state.path });
  return json(listed)["workspaces"] as Record<string, unknown>[];
}
