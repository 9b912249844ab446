/** docs/use-cases/review-eval.md: the example, and in real chat hosts a checklist in one terminal, an evaluation that ruins the machine, the way back, a report. */
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { instructionsOf } from "../../../src/mcp/descriptions.js";
import { checkoutOf } from "../../chat-hosts/checkout.js";
import type { Reading } from "../../chat-hosts/reading.js";
import { REVIEW_PROJECT } from "../../chat-hosts/review-project.js";
import { EACH_HOST, hostSuite, seesRecord } from "../../chat-hosts/suite.js";
import { runExample, transcriptOf, useCaseEnvironment } from "../../chat-hosts/use-case.js";

const PAGE = "review-eval";
const { state, run, leavesNothing } = hostSuite();
const { evaluation, fingerprint } = REVIEW_PROJECT;
const REPORT = "REPORT.md";
const environment = useCaseEnvironment();
const VERDICT = "# Review\n\nThe checklist passes. What the evaluation removes, tally cannot do without.\n";

it("the example writes what its page shows", async () => {
  expect(await runExample(PAGE, state().path)).toEqual(transcriptOf(PAGE));
  await leavesNothing();
});

it.for(EACH_HOST)(
  "%s goes by a checklist in a terminal, lets an evaluation ruin the machine, resets it and takes a report home",
  async ([, host]) => {
    await using checkout = await checkoutOf(REVIEW_PROJECT.files);
    const before = await checkout.fingerprint();
    await run(host, checkout, ["--mode", "review-eval", "--environment", environment], async (reading) => {
      const { call, load, model } = reading;
      const source = `the project ${checkout.path} (tracked and unignored files)`;
      const said = instructionsOf({
        set: "review-eval",
        source,
        environment,
        hasNetwork: false,
      });
      expect(model.opening.instructions.split(said)).toHaveLength(2);
      await load(...TOOLS);
      const created = await call("workspace_create");
      const [workspace_id = ""] = /ws-[0-9a-f]+/.exec(created.words) ?? [];
      const reviewed = await goesByTheChecklist(reading, workspace_id);
      await ruinsTheMachine(reading, workspace_id);
      await goesBack(reading, workspace_id, reviewed);
      await call("workspace_file_write", { workspace_id, path: REPORT, text: VERDICT });
      const exported = await call("workspace_export", { workspace_id, path: REPORT, output_path: REPORT });
      expect(exported.words).toContain(join(checkout.path, REPORT));
      expect((await call("workspace_delete", { workspace_id })).words).toContain("deleted");
      return "It passes.";
    });
    expect(await readFile(join(checkout.path, REPORT), "utf8")).toBe(VERDICT);
    expect(await checkout.status()).toBe(`?? ${REPORT}\n`);
    for (const added of [REPORT, ...host.leaves]) await rm(join(checkout.path, added));
    expect(await checkout.fingerprint()).toEqual(before);
    await leavesNothing();
  },
);

/** Those of the mode that hosts may defer. */
const TOOLS = [
  ...["shell_open", "shell_write", "shell_read", "snapshot_create", "snapshot_list"],
  ...["workspace_reset", "workspace_file_write", "workspace_export", "workspace_delete"],
];

/** One line after the other in one terminal, and a snapshot of where that led; gives the machine's fingerprint. */
async function goesByTheChecklist(reading: Reading, workspace_id: string): Promise<string> {
  const { host, call } = reading;
  const shell = await Terminal.open(reading, workspace_id);
  expect(await shell.type("make install")).toMatch(/# make install\ninstall -D .*\/usr\/local\/bin\/tally\n/);
  expect(await shell.type("cd cases")).toMatch(/:\/workspace\/cases#$/);
  // Where the line before has led: it is the same shell.
  expect(await shell.type("make -C .. check")).toMatch(/\nRan 2 tests in .*\n\nOK\n/);
  await shell.type("export REVIEWED=yes");

  const reviewed = await print(reading, workspace_id);
  const snapshot = { workspace_id, snapshot_name: "reviewed" };
  const taken = await call("snapshot_create", snapshot);
  seesRecord(host, taken, /^snapshot reviewed: [\d.]+ [kM]?B$/, { snapshot_name: "reviewed", memory: false });
  const twice = await call("snapshot_create", snapshot);
  expect(twice.words).toBe(
    `SNAPSHOT_EXISTS: workspace ${workspace_id} has a snapshot reviewed already\n` +
      `hint: choose another name, or delete it: snapshot_delete(workspace_id="${workspace_id}", snapshot_name="reviewed")`,
  );
  // The machine ran on under it.
  expect(await shell.type("echo was it $REVIEWED")).toContain("\nwas it yes\n");
  return reviewed;
}

/** The project, a package's file and /etc, until not even a command runs. */
async function ruinsTheMachine(reading: Reading, workspace_id: string): Promise<void> {
  const shell = await Terminal.open(reading, workspace_id);
  expect(await shell.type(`${evaluation}; ls cases; make check`)).toMatch(
    /\nls: cannot access 'cases': No such file or directory\n.*make: .*(not found|No such file or directory)\n/,
  );
  const broken = await reading.call("workspace_exec", { workspace_id, command: "true" });
  expect(broken.words).toMatch(/^exit 3\n/);
}

/** All is as at the snapshot, but for the shells: what runs does not outlive a reset. */
async function goesBack(reading: Reading, workspace_id: string, reviewed: string): Promise<void> {
  const { host, call } = reading;
  const mistyped = await call("workspace_reset", { workspace_id, snapshot: "review" });
  expect(mistyped.words).toBe(
    `SNAPSHOT_NOT_FOUND: workspace ${workspace_id} has no snapshot "review"\n` +
      "hint: the snapshots that it has: baseline, reviewed",
  );
  const reset = await call("workspace_reset", { workspace_id, snapshot: "reviewed" });
  seesRecord(host, reset, new RegExp(`^workspace ${workspace_id} is as at snapshot reviewed\n`), {
    state: "started",
    reset: { count: 1, snapshot: "reviewed" },
  });
  expect(await print(reading, workspace_id)).toBe(reviewed);
  const shell = await Terminal.open(reading, workspace_id);
  expect(await shell.type("make check; tally cases/more.txt")).toMatch(/\nRan 2 tests in .*\n\nOK\n321\n/);
  const listed = await call("snapshot_list", { workspace_id });
  seesRecord(host, listed, /^baseline .*\nreviewed .*$/, { count: 2, snapshots: [{}, {}] });
}

async function print({ call }: Reading, workspace_id: string): Promise<string> {
  const { words, guest } = await call("workspace_exec", { workspace_id, command: fingerprint });
  expect(words).toMatch(/^exit 0\n/);
  expect(guest).toMatch(/^[0-9a-f]{32} {2}-/);
  return guest;
}

/** A shell as a model uses it: it types a line, and reads until the shell waits for the next one. */
class Terminal {
  #cursor = 0;

  private constructor(
    private readonly reading: Reading,
    private readonly place: { readonly workspace_id: string; readonly shell_id: string },
  ) {}

  static async open(reading: Reading, workspace_id: string): Promise<Terminal> {
    const opened = await reading.call("shell_open", { workspace_id });
    const [shell_id = ""] = /sh-[0-9a-f]+/.exec(opened.words) ?? [];
    const text = new RegExp(`^shell ${shell_id} of ${workspace_id}: running, 120x30, /workspace$`);
    seesRecord(reading.host, opened, text, { shell_id, state: "running", cols: 120, rows: 30 });
    const terminal = new Terminal(reading, { workspace_id, shell_id });
    await terminal.#untilItWaits();
    return terminal;
  }

  /** What a person would see after the line has run. */
  async type(input: string): Promise<string> {
    await this.reading.call("shell_write", { ...this.place, input });
    return await this.#untilItWaits();
  }

  async #untilItWaits(): Promise<string> {
    for (;;) {
      const args = { cursor: this.#cursor, plain: true, wait_for_idle_ms: 1_000 };
      const { words, guest } = await this.reading.call("shell_read", { ...this.place, ...args });
      const { workspace_id, shell_id } = this.place;
      const [, cursor = ""] =
        new RegExp(
          `^next: shell_read\\(workspace_id="${workspace_id}", shell_id="${shell_id}", cursor=(\\d+), plain=true, `,
          "m",
        ).exec(words) ?? [];
      expect(words).toMatch(/^running, (waits for input|quiet)\nscreen: /);
      this.#cursor = Number(cursor);
      if (words.startsWith("running, waits for input")) return guest.trimEnd();
    }
  }
}
