/** docs/use-cases/untrusted-inspection.md: the example, and the page's calls in real chat hosts. */
import { lstat, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { instructionsOf } from "../../../src/mcp/descriptions.js";
import { toolsOf } from "../../../src/operations/index.js";
import { checkoutOf } from "../../chat-hosts/checkout.js";
import type { ReadResult } from "../../chat-hosts/hosts.js";
import type { Reading } from "../../chat-hosts/reading.js";
import { EACH_HOST, hostSuite } from "../../chat-hosts/suite.js";
import {
  callsOf,
  projectFiles,
  runExample,
  transcriptOf,
  useCaseEnvironment,
} from "../../chat-hosts/use-case.js";

const PAGE = "untrusted-inspection";
const REPORT = "REPORT.md";
const { state, run, leavesNothing } = hostSuite();

it("the example writes what its page shows", async () => {
  expect(await runExample(PAGE, state().path)).toEqual(transcriptOf(PAGE));
  await leavesNothing();
});

it.for(EACH_HOST)(
  "%s reads a hostile project, lets its hook loose offline, and takes home a report only",
  async ([, host]) => {
    await using prey = await preyOfHost();
    const target = JSON.stringify({ key: prey.key, port: prey.port });
    await using checkout = await checkoutOf({ ...projectFiles("hostile"), "target.json": target });
    await symlink(prey.key, join(checkout.path, "notes.txt"));
    const before = await checkout.fingerprint();
    const environment = useCaseEnvironment();
    await run(host, checkout, ["--mode", "inspect", "--environment", environment], async (reading) => {
      await isOfferedOnlyInspection(reading, checkout.path, environment);
      await inspects(reading, prey.key);
      return "It would have read your key and called home.";
    });
    const report = await readFile(join(checkout.path, REPORT), "utf8");
    expect(report.match(/^hook: .*$/gm)?.map((line) => /failed|worked/.exec(line)?.[0])).toEqual([
      ...Array.from({ length: 5 }, () => "failed"),
      // In the home directory of the machine, which is gone.
      "worked",
    ]);
    expect(await checkout.status()).toBe(`?? ${REPORT}\n?? notes.txt\n`);
    for (const added of [REPORT, ...host.leaves]) await rm(join(checkout.path, added));
    expect(await checkout.fingerprint()).toEqual(before);
    expect(await prey.isUntouched()).toBe(true);
    await leavesNothing();
  },
);

async function isOfferedOnlyInspection(
  { host, model: { opening } }: Reading,
  checkout: string,
  environment: string,
): Promise<void> {
  const set = "inspect";
  const source = `the project ${checkout} (tracked and unignored files)`;
  const said = instructionsOf({ set, source, environment, hasNetwork: false });
  expect(opening.instructions.split(said)).toHaveLength(2);
  const all = (await toolsOf(set)).map(({ name }) => name);
  const offered = opening.tools.flatMap(
    ({ name }) => /(workspace|service|shell|snapshot|vm)_\w+$/.exec(name)?.[0] ?? [],
  );
  if (host.defersTools) expect(all).toEqual(expect.arrayContaining(offered));
  else expect(offered.sort()).toEqual(all.toSorted());
}

async function inspects({ call, load }: Reading, key: string): Promise<void> {
  await load("workspace_file_list", "workspace_summary", "workspace_export", "workspace_delete");
  const answers: ReadResult[] = [];
  for (const each of callsOf(PAGE)) answers.push(await call(...each));
  const [, listed, hook, ran, , exported, deleted] = answers;
  expect(listed?.words).toContain("notes.txt");
  expect(listed?.words).toContain(key);
  expect(hook?.guest).toBe(projectFiles("hostile")["setup.py"]);
  expect(ran?.words).toMatch(/^exit 0\n/);
  expect(ran?.guest).toContain("hook: call home failed: Network is unreachable\n");
  expect(ran?.guest).not.toContain(KEY);
  expect(exported?.words).toContain(REPORT);
  expect(deleted?.words).toContain("deleted");
}

const KEY = "the key of this host";

/** A key of this host's user, and a service on its loopback. */
async function preyOfHost() {
  const home = await mkdtemp(join(tmpdir(), "pyro-prey-"));
  const key = join(home, "id_ed25519");
  await writeFile(key, KEY, { mode: 0o600 });
  let calls = 0;
  const service = createServer((socket) => {
    calls += 1;
    socket.destroy();
  });
  await new Promise<void>((resolve) => service.listen(0, "127.0.0.1", resolve));
  const look = async (): Promise<string> => {
    const { mode, mtimeMs, ino } = await lstat(key);
    const atLogin = await readFile(join(homedir(), ".profile"), "utf8").catch(() => "none");
    return `${await readFile(key, "utf8")} ${mode} ${mtimeMs} ${ino} ${atLogin}`;
  };
  const before = await look();
  return {
    key,
    port: (service.address() as AddressInfo).port,
    isUntouched: async () => calls === 0 && (await look()) === before,
    [Symbol.asyncDispose]: async () => {
      service.close();
      await rm(home, { recursive: true });
    },
  };
}
