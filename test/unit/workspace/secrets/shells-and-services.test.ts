import { readFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  attachShell,
  listDisk,
  listServices,
  readDisk,
  serviceLogs,
  startService,
  stopService,
  type Workspace,
} from "../../../../src/workspace/index.js";
import { allowInMemory } from "../../../../src/workspace/secrets-in-memory.js";
import { NEVER, run, WorkspaceHost } from "../../../fakes/workspace-host.js";

const CANARY = "canary-4f1d!98 x/y+z";
const MASK = "[REDACTED]**********";
const OPEN = { cwd: "", cols: 0, rows: 0, argv: [] };
const READ = { cursor: 0, maxChars: 0, plain: false, waitForIdleMs: 0, waitMs: 0 };
const secretEnv = { TOKEN: "KEY" };

let host: WorkspaceHost;
let workspace: Workspace;
beforeEach(async () => {
  host = await WorkspaceHost.start();
  const secrets = [{ name: "TOKEN", sourceKind: "value", value: Buffer.from(CANARY) }];
  workspace = await host.create({ secrets });
});
afterEach(() => host[Symbol.asyncDispose]());

const open = async (more: Partial<Parameters<Workspace["shells"]["open"]>[0]> = {}) =>
  await workspace.shells.open({ ...OPEN, ...more }, NEVER);
const terminal = () => host.machines.machine.shells.one;
const read = async (id: string, request: Partial<typeof READ> = {}) => {
  const { output, ...rest } = await workspace.shells.read(id, { ...READ, ...request }, NEVER);
  return { ...rest, output: Buffer.from(output).toString() };
};
const start = async (name: string, given: Record<string, string> = secretEnv) =>
  await startService(
    workspace,
    { name, argv: [], command: "serve", env: [], cwd: "", readiness: undefined, secretEnv: given },
    { waitMs: 5_000, signal: NEVER },
  );
const kept = async () => await readFile(workspace.paths.secretHolders, "utf8");
async function crash(): Promise<void> {
  const { id } = workspace;
  await host.crash();
  workspace = host.workspaces.find(id);
}

describe("a shell with a secret", () => {
  it("has it in its environment alone, and holds it until it has exited", async () => {
    const { shellId } = await open({ secretEnv });
    expect(terminal().env).toContain(`KEY=${CANARY}`);
    await open();
    expect(terminal().env.join()).not.toContain("canary");
    const holder = { kind: "shell", name: shellId, secrets: ["TOKEN"] };
    expect(workspace.secrets.holders).toEqual([holder]);
    await expect(allowInMemory(workspace, "fork", false)).rejects.toMatchObject({ code: "SECRET_IN_MEMORY" });
    expect(await allowInMemory(workspace, "fork", true)).toEqual(holder.secrets);
    await workspace.shells.write(shellId, Buffer.from("exit 0\r"), NEVER);
    expect(await allowInMemory(workspace, "fork", false)).toEqual([]);
  });

  it("holds it after the daemon's death as well, until it is closed; the file names no value", async () => {
    const { shellId } = await open({ secretEnv });
    expect(await kept()).toContain(shellId);
    expect(await kept()).not.toContain("canary");
    await crash();
    expect(workspace.secrets.holders).toEqual([{ kind: "shell", name: shellId, secrets: ["TOKEN"] }]);
    await workspace.shells.close(shellId, NEVER);
    expect(workspace.secrets.holders).toEqual([]);
    await workspace.secretHolders.saved();
    expect(await kept()).toBe("[]");
  });

  it("does not hold it beyond its machine", async () => {
    await open({ secretEnv });
    await workspace.stop("user").result;
    expect(workspace.secrets.holders).toEqual([]);
    await crash();
    expect(workspace.secrets.holders).toEqual([]);
  });

  it("is not opened with a secret that there is not", async () => {
    await expect(open({ secretEnv: { NONE: "" } })).rejects.toMatchObject({ code: "SECRET_NOT_FOUND" });
    expect(host.machines.machine.shells.all.size).toBe(0);
  });

  it("is let go of when it was not opened", async () => {
    const { shells } = host.machines.machine;
    await open({ secretEnv });
    shells.all.clear();
    await workspace.shells.list(NEVER);
    expect(workspace.secrets.holders).toEqual([]);
  });
});

describe("what a terminal shows of a secret", () => {
  it("is masked byte for byte, from whichever cursor, in steps of any size", async () => {
    const { shellId } = await open();
    terminal().show(`<${CANARY}> ${encodeURIComponent(CANARY)}\r\n$ `);
    const whole = (await read(shellId)).output;
    expect(whole).toMatch(/^\$ <\[REDACTED\]\*{10}> \[REDACTED\]\*+\r\n\$ $/);
    for (const step of [1, 3, 7]) {
      let output = "";
      let cursor = 0;
      for (let more = true; more;) {
        const piece = await read(shellId, { cursor, maxChars: step });
        output += piece.output;
        more = piece.nextCursor > cursor;
        cursor = piece.nextCursor;
      }
      expect(output).toBe(whole);
    }
    await expect(read(shellId, { cursor: 1_000 })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  it("is not told to who reads as it drips, raw or plain; what it becomes is shown then", async () => {
    const { shellId } = await open();
    let output = "";
    let cursor = 0;
    for (const char of `${CANARY}\r\n`) {
      terminal().show(char);
      const piece = await read(shellId, { cursor });
      output += piece.output;
      cursor = piece.nextCursor;
      expect((await read(shellId, { plain: true })).output).not.toContain("cana");
    }
    expect(output.slice(0, 5)).toBe("$ can");
    expect(output).not.toContain("cana");
    expect(output).not.toContain(CANARY.slice(8));
    expect(cursor).toBe(2 + CANARY.length + 2);
    terminal().show("canary");
    expect((await read(shellId, { cursor })).output).toBe("");
    terminal().show(" bird");
    expect((await read(shellId, { cursor })).output).toBe("canary bird");
    terminal().show("canary");
    terminal().end({ exitCode: 0 });
    expect((await read(shellId, { cursor })).output).toBe("canary birdcanary");
  });

  it("is masked where it goes over the end of a row, as the terminal or the shell wraps it", async () => {
    const { shellId } = await open({ cols: 20, rows: 4 });
    terminal().show(`0123456789 ${CANARY}\r\n`);
    terminal().show(`0123456789 ${CANARY.slice(0, 7)}\r\n${CANARY.slice(7)}\r\n`);
    const { output } = await read(shellId, { plain: true });
    expect(output).not.toMatch(/can|ary|4f1d|x\/y/);
    expect(output).toContain("[RED");
  });

  it("is masked where its beginning is not kept any more", async () => {
    const { shellId } = await open();
    terminal().show(`${CANARY} rest\r\n`);
    terminal().dropped = 2 + 6;
    expect((await read(shellId)).output).toBe(`${"*".repeat(CANARY.length - 6)} rest\r\n`);
  });

  it("is masked in attached terminals, whose echo is not kept back but for the beginning of one", async () => {
    const { shellId } = await open();
    const over = new AbortController();
    using attached = await attachShell(workspace, shellId, { cols: 0, rows: 0, cursor: 2 }, over.signal);
    const pieces = attached.output[Symbol.asyncIterator]();
    const next = async () => {
      const { value } = (await pieces.next()) as {
        value: { kind: string; data?: Uint8Array; nextCursor?: number };
      };
      return [Buffer.from(value.data ?? []).toString(), value.nextCursor];
    };
    const shown = async (text: string) => {
      const coming = next();
      await new Promise((resolve) => setTimeout(resolve, 20));
      terminal().show(text);
      return await coming;
    };
    expect(await shown("a")).toEqual(["a", 3]);
    expect(await shown("can")).toEqual(["can", 6]);
    const rest = shown(CANARY.slice(3, 9));
    // No silence tells it.
    await new Promise((resolve) => setTimeout(resolve, 120));
    terminal().show(CANARY.slice(9));
    const [text, cursor] = await rest;
    expect(text).toBe(MASK.slice(0, CANARY.length - 3));
    expect(cursor).toBe(3 + CANARY.length);
    terminal().end({ exitCode: 0 });
    expect(await pieces.next()).toMatchObject({ value: { kind: "ended" } });
    expect(await pieces.next()).toMatchObject({ done: true });
  });

  it("is not in what is told of the shell", async () => {
    const opened = await open({ cwd: `/${CANARY}`, argv: [Buffer.from("echo"), Buffer.from(CANARY)] });
    expect(opened).toMatchObject({ cwd: "/[REDACTED]", argv: ["echo", "[REDACTED]"] });
  });
});

describe("a service with a secret", () => {
  it("has it in its environment, and holds it while it lives, whoever is the daemon", async () => {
    await start("web");
    const [spec] = host.machines.machine.supervisor.specs;
    expect(spec?.env.map((entry) => Buffer.from(entry).toString())).toContain(`KEY=${CANARY}`);
    const holder = { kind: "service", name: "web", secrets: ["TOKEN"] };
    expect(workspace.secrets.holders).toEqual([holder]);
    await crash();
    expect(workspace.secrets.holders).toEqual([holder]);
    await listServices(workspace, NEVER);
    expect(workspace.secrets.holders).toEqual([holder]);
    await stopService(workspace, "web", NEVER);
    expect(workspace.secrets.holders).toEqual([]);
  });

  it("that ended unseen is let go of before memory is written", async () => {
    await start("web");
    await crash();
    host.machines.machine.supervisor.forget();
    expect(await allowInMemory(workspace, "fork", false)).toEqual([]);
  });

  it("that was refused holds nothing; the one of its name goes on holding", async () => {
    await start("web");
    await expect(start("web")).rejects.toMatchObject({ code: "SERVICE_EXISTS" });
    await expect(start("other", { NONE: "" })).rejects.toMatchObject({ code: "SECRET_NOT_FOUND" });
    expect(workspace.secrets.holders).toHaveLength(1);
  });

  it("shows it in no log, also where the beginning is not kept, or the end not there yet", async () => {
    await start("web");
    const { supervisor } = host.machines.machine;
    const stdout = `${CANARY.slice(5)}\nall ${CANARY}\nand ${CANARY.slice(0, 9)}`;
    supervisor.logs.set("web", { stdout, stderr: CANARY, droppedBytes: 5 });
    const logs = async () => {
      const read = await serviceLogs(workspace, "web", { tailLines: undefined, signal: NEVER });
      return [read.stdout, read.stderr].map(({ data }) => Buffer.from(data).toString());
    };
    const stars = "*".repeat(CANARY.length - 5);
    expect(await logs()).toEqual([`${stars}\nall [REDACTED]\nand `, "[REDACTED]"]);
    await stopService(workspace, "web", NEVER);
    expect((await logs())[0]).toBe(`${stars}\nall [REDACTED]\nand canary-4f`);
  });
});

describe("the disk of a stopped workspace with secrets", () => {
  it("is read and listed without them", async () => {
    await run(workspace, `echo '${CANARY}' > file`);
    await workspace.stop("user").result;
    const data = async (offset: number, maxBytes: number) =>
      Buffer.from((await readDisk(workspace, { path: "file", offset, maxBytes })).data).toString();
    expect(await data(0, 0)).toBe(`${MASK}\n`);
    expect(await data(4, 6)).toBe(MASK.slice(4, 10));
    const { path, entries } = await listDisk(workspace, { path: "", recursive: false, maxEntries: 100 });
    expect([path, entries.length > 0]).toEqual(["/workspace", true]);
  });
});

describe("what is kept of shells and services that have ended, before memory is written", () => {
  it("is masked in the machine, byte for byte, and told as before; what lives is left alone", async () => {
    const { shellId } = await open({ secretEnv });
    terminal().show(`<${CANARY}>`);
    await workspace.shells.write(shellId, Buffer.from("exit 0\r"), NEVER);
    const ended = terminal();
    const before = { bytes: ended.bytes.length, read: (await read(shellId)).output };
    await open();
    terminal().show("nothing");
    const { supervisor } = host.machines.machine;
    await start("web");
    const base64 = Buffer.from(CANARY).toString("base64");
    supervisor.logs.set("web", { stdout: `key=${CANARY}\n`, stderr: `${base64}\n` });
    await stopService(workspace, "web", NEVER);
    await start("clean", {});
    await stopService(workspace, "clean", NEVER);
    expect(await allowInMemory(workspace, "fork", false)).toEqual([]);
    expect(supervisor.logs.get("web")?.stdout).toBe(`key=${MASK}\n`);
    expect(supervisor.logs.get("web")?.stderr).not.toContain(base64.slice(4, 20));
    expect(supervisor.logs.has("clean")).toBe(false);
    expect(ended.bytes.toString()).toContain(`<${MASK}>`);
    expect(ended.bytes.length).toBe(before.bytes);
    expect((await read(shellId)).output).toBe(before.read);
    expect(terminal().bytes.toString()).toContain("nothing");
  });

  it("stops what would write it, where the machine does not answer", async () => {
    const { shellId } = await open({ secretEnv });
    terminal().show(CANARY);
    await workspace.shells.write(shellId, Buffer.from("exit 0\r"), NEVER);
    host.machines.before = (step) => {
      if (step === "shell.rewrite") throw new Error("no answer");
    };
    await expect(allowInMemory(workspace, "fork", false)).rejects.toThrow("no answer");
  });
});
