/** docs/use-cases/cold-start-validation.md: the example, and in real chat hosts what it shows and a service that fails. */
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { checkoutOf } from "../../chat-hosts/checkout.js";
import type { Reading } from "../../chat-hosts/reading.js";
import { SERVICE_PROJECT } from "../../chat-hosts/service-project.js";
import { EACH_HOST, hostSuite, seesRecord } from "../../chat-hosts/suite.js";
import { runExample, transcriptOf, useCaseEnvironment } from "../../chat-hosts/use-case.js";

const PAGE = "cold-start-validation";
const REPORT = "REPORT.md";
const VERDICT = "# greeter\n\nInstalls, passes its tests, answers.\n";
const { state, run, leavesNothing } = hostSuite();

it("the example writes what its page shows", async () => {
  expect(await runExample(PAGE, state().path)).toEqual(transcriptOf(PAGE));
  await leavesNothing();
});

it.for(EACH_HOST)(
  "%s tests and installs a repository offline, starts its service, asks it, reads its logs, stops it, takes a report home and leaves nothing",
  async ([, host]) => {
    await using checkout = await checkoutOf(SERVICE_PROJECT.files);
    const before = await checkout.fingerprint();
    await run(host, checkout, ["--mode", "cold-start", "--environment", useCaseEnvironment()], validates);
    expect(await readFile(join(checkout.path, REPORT), "utf8")).toBe(VERDICT);
    expect(await checkout.status()).toBe(`?? ${REPORT}\n`);
    for (const added of [REPORT, ...host.leaves]) await rm(join(checkout.path, added));
    expect(await checkout.fingerprint()).toEqual(before);
    await leavesNothing();
  },
);

async function validates({ host, call, load }: Reading): Promise<string> {
  const { test, install, command, url, greeting } = SERVICE_PROJECT;
  await load("service_stop", "workspace_file_write", "workspace_export", "workspace_delete");
  const created = await call("workspace_create");
  const [workspace_id = ""] = /ws-[0-9a-f]+/.exec(created.words) ?? [];
  const exec = async (line: string): Promise<string> => {
    const { words, guest } = await call("workspace_exec", { workspace_id, command: line });
    expect(words).toMatch(/^exit 0\n/);
    return guest;
  };
  expect(await exec(test)).toMatch(/^Ran 3 tests in .*\n\nOK\n$/m);
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
  const isRunning = { service_name: "greeter", state: "running", readiness };
  seesRecord(host, started, /^service +greeter\nstate +running\n/, isRunning);

  expect(await exec(`curl -fsS ${url}/`)).toBe(greeting);
  const logs = await call("service_logs", service);
  expect(logs.words).toMatch(
    /^service greeter is running\nstdout: \d+ bytes, all below\nstderr: \d+ bytes, all below$/,
  );
  expect(logs.guest).toContain("greeter listens on 8080\n");

  const stopped = await call("service_stop", service);
  seesRecord(host, stopped, /^state +stopped$/m, { state: "stopped" });
  await call("workspace_file_write", { workspace_id, path: REPORT, text: VERDICT });
  await call("workspace_export", { workspace_id, path: REPORT, output_path: REPORT });
  expect((await call("workspace_delete", { workspace_id })).words).toContain("deleted");
  return "It installs, and it answers.";
}
