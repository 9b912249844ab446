/** docs/use-cases/repro-fix-loop.md: the example, and the loop in real chat hosts, with all that the model sees of pyro in each. */
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { instructionsOf } from "../../../src/mcp/descriptions.js";
import { toolInput } from "../../../src/mcp/tool.js";
import { toolsOf } from "../../../src/operations/index.js";
import { checkoutOf, type Checkout } from "../../chat-hosts/checkout.js";
import { CHAT_HOSTS } from "../../chat-hosts/hosts.js";
import { C_PROJECT, NODE_PROJECT, PYTHON_PROJECT, type BrokenProject } from "../../chat-hosts/projects.js";
import { namedCall, type Reading } from "../../chat-hosts/reading.js";
import { hostSuite, seesRecord } from "../../chat-hosts/suite.js";
import { runExample, transcriptOf } from "../../chat-hosts/use-case.js";

const { claudeCode, codex, openCode } = CHAT_HOSTS;
const CASES = [
  [claudeCode, PYTHON_PROJECT],
  [codex, C_PROJECT],
  [openCode, NODE_PROJECT],
] as const;

/** There without being asked for, in hosts that defer tools. */
const ALWAYS_LOADED = ["create", "exec", "logs", "file_read", "patch_apply", "diff"].map(
  (name) => `workspace_${name}`,
);

/** Much more than a result may hold: what `seq 100000` writes. */
const LONG = Array.from({ length: 100_000 }, (_, i) => `${i + 1}\n`).join("");

const PAGE = "repro-fix-loop";
const { state, run, leavesNothing } = hostSuite();

it("the example writes what its page shows", async () => {
  expect(await runExample(PAGE, state().path)).toEqual(transcriptOf(PAGE));
  await leavesNothing();
});

it.for(CASES.map((both) => [both[0].name, both[1].language, ...both] as const))(
  "%s, with a repository in %s: reproduces, patches, proves, exports, resets and deletes, sees errors and pages output",
  async ([, , host, project]) => {
    await using checkout = await checkoutOf(project.files);
    await project.prepare?.(checkout.path);
    const before = await checkout.fingerprint();
    const { path, wrong, right } = project;
    const output_path = `${path}.mended`;
    const flags = ["--mode", "repro-fix", "--environment", project.environment, ...(project.flags ?? [])];
    await run(host, checkout, flags, async (reading) => {
      await seesTheServer(reading, checkout, project);
      const workspace_id = await create(reading, checkout);
      await seesErrors(reading, workspace_id, project);
      await mends(reading, workspace_id, project);
      await pagesLongOutput(reading, workspace_id);
      await takesHome(reading, workspace_id, { ...project, output: join(checkout.path, output_path) });
      return "The test passes.";
    });
    const exported = await readFile(join(checkout.path, output_path), "utf8");
    expect(exported).toBe(project.files[path]?.replace(wrong, right));
    expect(await checkout.status()).toBe(`?? ${output_path}\n`);
    for (const added of [output_path, ...host.leaves]) await rm(join(checkout.path, added));
    expect(await checkout.fingerprint()).toEqual(before);
    await leavesNothing();
  },
);

/** The tools with their fields, those that need no search, and the server's instructions, once. */
async function seesTheServer(
  { host, model: { opening } }: Reading,
  checkout: Checkout,
  { environment, flags = [] }: BrokenProject,
): Promise<void> {
  const set = "repro-fix";
  const source = `the project ${checkout.path} (tracked and unignored files${flags.length === 0 ? "" : ", with node_modules"})`;
  expect(
    opening.instructions.split(instructionsOf({ set, source, environment, hasNetwork: false })),
  ).toHaveLength(2);
  const tools = await toolsOf(set);
  const all = tools.map(({ name }) => name);
  const offered = opening.tools.flatMap((tool) => {
    const name = all.find((known) => tool.name === known || tool.name === `${host.prefix}${known}`);
    return name === undefined ? [] : [{ ...tool, name }];
  });
  expect(offered.map(({ name }) => name).sort()).toEqual((host.defersTools ? ALWAYS_LOADED : all).toSorted());
  for (const { name, schema, description } of offered) {
    const known = tools
      .filter((tool) => tool.name === name)
      .map((tool) => toolInput(tool, { set, environment, hasNetwork: false, mayPublish: false }).shape);
    const { properties } = schema as { properties: Record<string, unknown> };
    expect(Object.keys(properties).sort(), name).toEqual(known.flatMap(Object.keys).sort());
    expect(description, name).not.toBe("");
    if (name === "workspace_create") expect(description).toContain(source);
  }
}

/** Creates a workspace without saying of what, and gives its id: from the structure or from the text. */
async function create({ host, call }: Reading, checkout: Checkout): Promise<string> {
  const answer = await call("workspace_create");
  if (host.showsRecordsAs === "text") {
    const { tool, args } = namedCall(answer);
    const id = String(args["workspace_id"]);
    expect(tool).toBe("workspace_exec");
    expect(answer.words).toMatch(new RegExp(`^workspace ${id} is ready\nworkspace +${id}\nstate +started\n`));
    expect(answer.words).toMatch(new RegExp(`^seed +${checkout.path}, \\d+ entries$`, "m"));
    return id;
  }
  const record = JSON.parse(answer.words) as Record<string, unknown>;
  const id = String(record["workspace_id"]);
  expect(record).toMatchObject({
    state: "started",
    workspace_seed: { mode: "directory", seed_path: checkout.path, origin_kind: "project" },
    next: `workspace_exec(workspace_id="${id}", command="…")`,
  });
  return id;
}

/** Red, read, patched, green, compared. */
async function mends({ host, call }: Reading, workspace_id: string, project: BrokenProject): Promise<void> {
  const { path, testCommand: command, failedStatus, files, patch, wrong, right } = project;
  const red = await call("workspace_exec", { workspace_id, command });
  expect(red.words).toMatch(new RegExp(`^exit ${failedStatus}\n.* for command 1 of ${workspace_id} \\(`));
  expect(red.guest).toContain(project.failure);
  const read = await call("workspace_file_read", { workspace_id, path });
  const bytes = files[path]?.length ?? 0;
  expect(read).toEqual({ words: `file: ${bytes} bytes, all below`, guest: files[path] });
  const patched = await call("workspace_patch_apply", { workspace_id, patch });
  const entries = [{ path, change: "modified" }];
  seesRecord(host, patched, new RegExp(`^modified ${path}$`), { changed: true, entries });
  const green = await call("workspace_exec", { workspace_id, command });
  expect(green.words).toMatch(/^exit 0\n/);
  expect(green.guest).toContain(project.success);
  const diff = await call("workspace_diff", { workspace_id });
  expect(diff.words.split("\n")[0]).toBe(project.changes);
  expect(diff.guest).toContain(`--- a/${path}\n+++ b/${path}\n@@ `);
  expect(diff.guest).toContain(`\n-${wrong}+${right}`);
}

/** Exported, reset to red, deleted. */
async function takesHome(
  { call, load }: Reading,
  workspace_id: string,
  { path, testCommand: command, failedStatus, output }: BrokenProject & { readonly output: string },
): Promise<void> {
  await load("workspace_export", "workspace_reset", "workspace_delete", "workspace_status");
  const output_path = output.slice(output.lastIndexOf("/") + 1);
  const exported = await call("workspace_export", { workspace_id, path, output_path });
  expect(exported.words).toContain(output);
  await call("workspace_reset", { workspace_id });
  const again = await call("workspace_exec", { workspace_id, command });
  expect(again.words).toMatch(new RegExp(`^exit ${failedStatus}\n`));
  expect((await call("workspace_delete", { workspace_id })).words).toContain("deleted");
  const gone = await call("workspace_status", { workspace_id });
  expect(gone.words).toMatch(/^WORKSPACE_NOT_FOUND: .*\nhint: .*workspace_create\(\) makes one$/);
}

/** A workspace that is not there and a patch that does not fit: what is wrong, and what to do. */
async function seesErrors(
  { host, model }: Reading,
  workspace_id: string,
  { path, patch, wrong }: BrokenProject,
): Promise<void> {
  const unknown = await model.call("workspace_exec", { workspace_id: "elsewhere", command: "true" });
  expect(host.read(unknown)).toEqual({
    words:
      'WORKSPACE_NOT_FOUND: there is no workspace "elsewhere"\nhint: workspace_list() shows those that there are',
    guest: "",
  });
  const unfit = patch.replace(`-${wrong}`, "-nothing that stands there\n");
  const refused = await model.call("workspace_patch_apply", { workspace_id, patch: unfit });
  const { words } = host.read(refused);
  expect(words).toMatch(/^PATCH_DOES_NOT_APPLY: hunk 1 .*; nothing was changed\nhint: read the file /);
  expect(words).toMatch(/^ +\| nothing that stands there\n/m);
  expect(words).toContain(` | ${wrong.trimEnd()}`);
  expect(words).toContain(path);
  for (const { isError } of [unknown, refused]) expect(isError).toBe(host.marksErrors);
}

/** Head and tail, the count of what is cut, and a call that goes on just where the head ends. */
async function pagesLongOutput({ host, call }: Reading, workspace_id: string): Promise<void> {
  const first = await call("workspace_exec", { workspace_id, command: "seq 100000" });
  expect(first.words).toMatch(/^exit 0\n/);
  expect(first.words).toMatch(/^cut: \d+ bytes are left out after line \d+ of the text below; /m);
  const { tool, args } = namedCall(first);
  const offset = Number(args["offset"]);
  expect([tool, args]).toEqual(["workspace_logs", { workspace_id, sequence: 3, offset }]);
  expect(first.guest.startsWith(LONG.slice(0, offset))).toBe(true);
  expect(first.guest.trimEnd().endsWith("\n99999\n100000")).toBe(true);

  const second = await call(tool, args);
  const next = Number(namedCall(second).args["offset"]);
  expect(next).toBeGreaterThan(offset);
  expect(second.guest.startsWith(LONG.slice(offset, next))).toBe(true);

  // More than most hosts let through: what they cut themselves, they cut of the guest's bytes.
  const most = await call(tool, { ...args, max_bytes: 65_536 });
  expect(most.words).toMatch(/^exit 0\n/);
  const end = Number(namedCall(most).args["offset"]);
  expect(most.guest.startsWith(LONG.slice(offset, host.showsWhole ? end : offset + 1_000))).toBe(true);
}
