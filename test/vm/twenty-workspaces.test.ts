/** Many workspaces of one repository at once, as a chat host makes them. */
import { execFileSync } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { mcpSession, type Session } from "./mcp-session.js";
import { json, machinesOf, pyro, testState, type TestState } from "./support.js";

const COUNT = 20;
/** Begun at once: the host has few cores. */
const SIDE_BY_SIDE = 4;

let state: TestState;
let project: string;
beforeAll(async () => {
  state = await testState();
  project = await mkdtemp(join(tmpdir(), "pyro-project-"));
  await writeFile(join(project, "which.txt"), "none\n");
  const git = (...args: string[]) =>
    execFileSync("git", ["-c", "user.name=t", "-c", "user.email=t@example.org", ...args], { cwd: project });
  git("init", "-q");
  git("add", ".");
  git("commit", "-qm", "one file");
});
afterAll(async () => {
  await rm(project, { recursive: true, force: true });
  await state[Symbol.asyncDispose]();
});

/** Memory that is only these processes' own, in KiB. */
async function privateKib(pids: readonly number[]): Promise<number> {
  let sum = 0;
  for (const pid of pids) {
    const rollup = await readFile(`/proc/${pid}/smaps_rollup`, "utf8");
    for (const [, kib] of rollup.matchAll(/^Private_(?:Clean|Dirty): +(\d+) kB$/gm)) sum += Number(kib);
  }
  return sum;
}

/** Does it for all, a few at a time. */
async function forAll<T, R>(all: readonly T[], work: (each: T, index: number) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let at = 0; at < all.length; at += SIDE_BY_SIDE)
    results.push(
      ...(await Promise.all(all.slice(at, at + SIDE_BY_SIDE).map((each, i) => work(each, at + i)))),
    );
  return results;
}

describe("Twenty workspaces of one repository", () => {
  it(
    "exist at once, cost no memory once they are stopped, and are all listed and deleted",
    { timeout: 240_000 },
    async () => {
      await using host: Session = await mcpSession({ stateDir: state.path, cwd: project });
      const names = Array.from({ length: COUNT }, (_, index) => `agent-${index}`);
      const ids = await forAll(names, async (name) => {
        const { isError, words, record } = await host.call("workspace_create", { name });
        expect([isError, isError ? words : record["state"]]).toEqual([false, "started"]);
        return String(record["workspace_id"]);
      });
      expect(new Set(ids).size).toBe(COUNT);
      const machines = await machinesOf(state.path);
      expect(machines).toHaveLength(COUNT);
      const running = await privateKib(machines);

      // Each is its own.
      await forAll(ids, (workspace_id, index) =>
        host.call("workspace_exec", { workspace_id, command: `echo ${index} > which.txt; sync` }),
      );
      const read = await forAll(ids, (workspace_id) =>
        host.call("workspace_file_read", { workspace_id, path: "which.txt" }),
      );
      expect(read.map(({ guest }) => guest)).toEqual(names.map((_, index) => `${index}\n`));
      expect(await readFile(join(project, "which.txt"), "utf8")).toBe("none\n");

      // Of twenty ids, two begin alike.
      const digits = ids.map((id) => id.slice(0, "ws-0".length));
      const twice = digits.find((digit, index) => digits.indexOf(digit) !== index) ?? "";
      const ambiguous = await host.call("workspace_status", { workspace_id: twice });
      expect(ambiguous.words).toMatch(
        new RegExp(`^AMBIGUOUS_REFERENCE: "${twice}" fits \\d+ workspaces: ${twice}.*\\nhint: `),
      );

      const stopped = await forAll(ids, (id) => pyro(["workspace", "stop", id], { stateDir: state.path }));
      expect(stopped.map(({ code, stderr }) => [code, code === 0 ? "" : stderr])).toEqual(
        ids.map(() => [0, ""]),
      );
      expect(await machinesOf(state.path)).toEqual([]);
      expect(await readdir(join(state.path, "vms"))).toEqual([]);
      console.log(`${COUNT} running: ${Math.round(running / 1024)} MiB of their own; stopped: none`);
      expect(running).toBeGreaterThan(0);

      const listed = json(await pyro(["workspace", "list", "--json"], { stateDir: state.path }));
      const workspaces = listed["workspaces"] as { workspace_id: string; state: string }[];
      expect(workspaces.map(({ workspace_id: id }) => id).sort()).toEqual([...ids].sort());
      expect(new Set(workspaces.map((each) => each.state))).toEqual(new Set(["stopped"]));
      const [first = "", ...others] = ids;
      expect((await pyro(["workspace", "start", first], { stateDir: state.path })).code).toBe(0);
      const kept = await host.call("workspace_file_read", { workspace_id: first, path: "which.txt" });
      expect([kept.guest, (await machinesOf(state.path)).length]).toEqual(["0\n", 1]);

      await forAll([first, ...others], (workspace_id) => host.call("workspace_delete", { workspace_id }));
      expect((await host.call("workspace_list")).record).toMatchObject({ count: 0 });
      expect(await readdir(join(state.path, "workspaces"))).toEqual([]);
      expect(await machinesOf(state.path)).toEqual([]);
    },
  );
});
