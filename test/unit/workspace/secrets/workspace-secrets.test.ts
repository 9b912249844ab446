import { readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { LIMITS, PyroError } from "../../../../src/protocol/index.js";
import {
  cancelCommand,
  diffWorkspace,
  exportPath,
  patchFiles,
  editFile,
  readFile as readWorkspaceFile,
  summarizeWorkspace,
  type Secret,
  type Workspace,
} from "../../../../src/workspace/index.js";
import { checkSecrets, REDACTED, saveSecrets } from "../../../../src/workspace/secrets/index.js";
import { NEVER, run, start, WorkspaceHost, written } from "../../../fakes/workspace-host.js";

const CANARY = "canary-4f1d!98 x/y+z";
const KEY = `-----BEGIN KEY-----\nMIIEvQIBADANBgkq\n-----END KEY-----`;

const secret = (name: string, value: string | Uint8Array): Secret => ({
  ...{ name, sourceKind: "value" },
  value: typeof value === "string" ? Buffer.from(value) : value,
});
const SECRETS = [secret("TOKEN", CANARY), secret("KEY", KEY)];

/** All that a workspace keeps but its one file of secrets, and its disk. */
async function keptText(workspace: Workspace): Promise<string> {
  const names = await readdir(workspace.paths.directory, { recursive: true });
  const texts: string[] = [];
  for (const name of names) {
    const path = join(workspace.paths.directory, name);
    // A record that is on its way may be renamed meanwhile.
    const content = name === "secrets.json" ? "" : await readFile(path, "latin1").catch(() => "");
    texts.push(`${name}: ${content}`);
  }
  return texts.join("\n");
}

function expectClean(text: string): void {
  for (const form of [CANARY, "canary-4f1d", encodeURIComponent(CANARY), "MIIEvQIBADANBgkq"])
    expect(text).not.toContain(form);
  for (const shift of ["", "a", "ab"]) {
    const encoded = Buffer.from(shift + CANARY).toString("base64");
    expect(text).not.toContain(encoded.slice(4, -4));
  }
}

describe("a workspace with secrets", () => {
  let host: WorkspaceHost;
  let workspace: Workspace;
  beforeEach(async () => {
    host = await WorkspaceHost.start();
    workspace = await host.create({ secrets: SECRETS });
  });
  afterEach(async () => {
    await host[Symbol.asyncDispose]();
  });

  it("gives them to the processes that name them, and to no other", async () => {
    expect(await run(workspace, 'test -z "$TOKEN$KEY"; echo "$?"')).toBe("0\n");
    const line = 'printf %s "$TOKEN" | wc -c; test -z "$KEY"; echo "$?"';
    expect(await run(workspace, line, { secretEnv: { TOKEN: "" } })).toBe(`${CANARY.length}\n0\n`);
    const renamed = 'test "$AS" = "$WANTED" && test -z "$TOKEN" && echo same';
    const env = [Buffer.from(`WANTED=${CANARY}`)];
    expect(await run(workspace, renamed, { secretEnv: { TOKEN: "AS" }, env })).toBe("same\n");
    expect(workspace.commands.all.map(({ facts }) => facts.secrets)).toEqual([
      undefined,
      ["TOKEN"],
      ["TOKEN"],
    ]);
  });

  it("refuses a name that it does not have, and a variable that is given twice or cannot be one", async () => {
    await expect(run(workspace, "true", { secretEnv: { OTHER: "" } })).rejects.toMatchObject({
      code: "SECRET_NOT_FOUND",
      hint: "the secrets that it has: TOKEN, KEY",
    });
    const other = await host.create();
    await expect(run(other, "true", { secretEnv: { OTHER: "" } })).rejects.toThrow(/has no secret "OTHER"/);
    const env = [Buffer.from("AS=1")];
    await expect(run(workspace, "true", { secretEnv: { TOKEN: "AS" }, env })).rejects.toThrow(
      "AS is given twice",
    );
    await expect(run(workspace, "true", { secretEnv: { TOKEN: "A B" } })).rejects.toThrow("not allowed");
    expect(workspace.commands.all).toEqual([]);
  });

  it("keeps them out of output, however it is encoded or cut, and out of all that is on the disk", async () => {
    const secretEnv = { TOKEN: "", KEY: "" };
    const encode = `process.env.TOKEN`;
    const program = `
      const all = [${encode}, Buffer.from(${encode}).toString("base64"), encodeURIComponent(${encode}), process.env.KEY];
      const text = all.join(" | ") + "\\n";
      const drip = (at) => at < text.length && process.stdout.write(text[at], () => setTimeout(drip, 0, at + 1));
      drip(0); process.stderr.write("also " + ${encode});`;
    const heard: string[] = [];
    const command = await start(workspace, `node -e '${program}'; echo ${CANARY.slice(0, 6)}`, {
      secretEnv,
      listener: async (stream, data) => void heard.push(`${stream} ${Buffer.from(data).toString()}`),
    });
    await command.done;
    const { stdout, stderr } = await command.output.view(0, 100_000);
    expect(Buffer.from(stdout.data).toString()).toMatch(
      /^\[REDACTED\] \| \S{0,4}\[REDACTED\]\S{0,4} \| \[REDACTED\] \| \[REDACTED\]\ncanary\n$/,
    );
    expect(Buffer.from(stderr.data).toString()).toBe(`also ${REDACTED}`);
    const heardOf = (stream: string): string =>
      heard.flatMap((text) => (text.startsWith(stream) ? [text.slice(7)] : [])).join("");
    expect([heardOf("stdout"), heardOf("stderr")]).toEqual([
      Buffer.from(stdout.data).toString(),
      Buffer.from(stderr.data).toString(),
    ]);
    await run(workspace, `echo "${CANARY}" >${CANARY.slice(0, 4)}; : '${KEY}'`);
    await start(workspace, "", {
      argv: [Buffer.from("true"), Buffer.from(`it's ${CANARY}`)],
      command: "",
    }).then(({ done }) => done);
    expect(workspace.commands.find(3).facts.command).toContain(REDACTED);
    await workspace.note({ kind: "file_write", path: `/workspace/${CANARY}` });
    expectClean(await keptText(workspace));
    expectClean(JSON.stringify((await summarizeWorkspace(workspace, NEVER)).events));
  });

  it("keeps them in one file that is the user's alone, over restarts, reset and start, until it is deleted", async () => {
    const { paths } = workspace;
    expect((await stat(paths.secrets)).mode & 0o777).toBe(0o600);
    expect((await stat(paths.directory)).mode & 0o777).toBe(0o700);
    expect(workspace.record.secrets).toEqual([
      { name: "TOKEN", sourceKind: "value" },
      { name: "KEY", sourceKind: "value" },
    ]);
    const echo = async (of: Workspace): Promise<string> =>
      await run(of, 'echo "<$TOKEN>"; printf %s "$KEY" | wc -l', { secretEnv: { TOKEN: "", KEY: "" } });
    await host.restart();
    await host.crash();
    const [again] = host.workspaces.all;
    expect(await echo(again as Workspace)).toBe(`<${REDACTED}>\n2\n`);
    await again?.reset().result;
    expect(await echo(again as Workspace)).toBe(`<${REDACTED}>\n2\n`);
    await again?.stop("user").result;
    await again?.start().result;
    expect(await echo(again as Workspace)).toBe(`<${REDACTED}>\n2\n`);
    await host.workspaces.delete(again as Workspace);
    expect(await host.left()).toEqual([]);
  });

  it("goes on with a command after the daemon's death in the middle of a secret, without losing or telling a byte", async () => {
    const half = CANARY.slice(0, 9);
    const line = `printf 'a %s' "$(printf %.9s "$TOKEN")"; while ! test -e go; do sleep 0.01; done; printf '%s|' "\${TOKEN#?????????}"; printf '%s;' "$TOKEN"`;
    const command = await start(workspace, line, { secretEnv: { TOKEN: "" } });
    const fake = host.machines.machine.processes.get("command-1");
    await vi.waitFor(() =>
      expect(Buffer.concat(fake?.chunks.map(({ data }) => data) ?? []).length).toBe(2 + half.length),
    );
    await vi.waitFor(async () => expect(await written(command)).toBe("a "));
    expect(command.output.position).toEqual({ stdout: 2, stderr: 0 });
    await host.crash();
    const [next] = host.workspaces.all;
    const followed = next?.commands.find(1);
    expect(next?.secrets.holders).toEqual([{ kind: "command", name: "1", secrets: ["TOKEN"] }]);
    await writeFile(join(host.machines.machine.trees.active, "go"), "");
    await followed?.done;
    expect(followed && (await written(followed))).toBe(`a ${REDACTED}|${REDACTED};`);
    expect(followed?.output.position.stdout).toBe(2 + CANARY.length + 1 + CANARY.length + 1);
    expect(next?.secrets.holders).toEqual([]);
  });

  it("notes which live command holds which secrets, and refuses to write memory then unless that is allowed", async () => {
    expect(workspace.secrets.allowInMemory("fork", false)).toEqual([]);
    const plain = await start(workspace, "sleep 100");
    const holding = await start(workspace, "sleep 100", { secretEnv: { TOKEN: "" } });
    const refused = catching(() => workspace.secrets.allowInMemory("fork", false));
    expect(refused).toMatchObject({
      code: "SECRET_IN_MEMORY",
      message: `fork of workspace ${workspace.id} would keep secrets in a file: command 2 was given the secret TOKEN, and runs`,
      details: { holders: [{ kind: "command", name: "2", secrets: ["TOKEN"] }] },
    });
    expect(refused.hint).toContain("--allow-secrets");
    expect(workspace.secrets.allowInMemory("fork", true)).toEqual(["TOKEN"]);
    using _shell = workspace.secrets.hold({ kind: "shell", name: "sh-1", secrets: ["KEY", "TOKEN"] });
    expect(catching(() => workspace.secrets.allowInMemory("fork", false)).message).toContain(
      "shell sh-1 was given the secrets KEY, TOKEN",
    );
    await cancelCommand(workspace, holding.sequence);
    await cancelCommand(workspace, plain.sequence);
    await expect(
      run(workspace, "", { argv: [Buffer.from("/no/such")], command: "", secretEnv: { KEY: "" } }),
    ).rejects.toThrow();
    expect(workspace.secrets.holders.map(({ kind }) => kind)).toEqual(["shell"]);
  });

  it("masks them in files that are read, also by small pieces, with the offsets of the file", async () => {
    await run(
      workspace,
      `printf 'x=%s\\nbase64 %s\\nend' '${CANARY}' '${Buffer.from(CANARY).toString("base64")}' >f`,
    );
    const read = async (offset: number, maxBytes: number): Promise<string> => {
      const { data } = await readWorkspaceFile(workspace, "f", { offset, maxBytes }, NEVER);
      const parts: Uint8Array[] = [];
      for await (const part of data) parts.push(part);
      return Buffer.concat(parts).toString();
    };
    const whole = await read(0, 0);
    expect(whole).toMatch(/^x=\[REDACTED\]\*{10}\nbase64 \[REDACTED\]\*+\S{0,2}\nend$/);
    for (const size of [1, 3, 7]) {
      let pieces = "";
      for (let at = 0; at < whole.length; at += size) pieces += await read(at, size);
      expect(pieces).toBe(whole);
    }
    expect([await read(whole.length, 5), await read(whole.length + 1000, 5)]).toEqual(["", ""]);
  });

  it("keeps them out of diffs, names and patch and edit errors, and applies patches to what is really there", async () => {
    await run(
      workspace,
      `printf 'one\\nx=${CANARY}\\nthree\\n' >f; ln -s '${CANARY}' l; printf -- '${KEY.replaceAll("\n", "\\n")}\\n' >k`,
    );
    const diff: string[] = [];
    for await (const { entry, patch } of diffWorkspace(workspace, "", NEVER))
      diff.push(JSON.stringify(entry), Buffer.from(patch).toString());
    expectClean(diff.join("\n"));
    expect(diff.join("\n")).toContain(`+x=${REDACTED}`);
    const long = "y".repeat(150);
    await run(workspace, `printf '${long}${CANARY}\\n' >g`);
    const patch = `--- a/g\n+++ b/g\n@@ -1 +1 @@\n-${long}other\n+new\n`;
    const failed = await patchFiles(workspace, Buffer.from(patch), NEVER).catch((error: unknown) =>
      PyroError.from(error),
    );
    expect(failed).toMatchObject({ code: "PATCH_DOES_NOT_APPLY" });
    expectClean(JSON.stringify(failed));
    const good = `--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n-one\n+ONE\n x=${CANARY}\n`;
    await patchFiles(workspace, Buffer.from(good), NEVER);
    expect(await run(workspace, "head -c 5 f; wc -c <f")).toBe(`ONE\nx${4 + 3 + CANARY.length + 6}\n`);
    const change = { oldText: `x=${CANARY.slice(0, 4)} other`, newText: "", replaceAll: false };
    await expect(editFile(workspace, "f", change, NEVER)).rejects.toMatchObject({
      code: "GUEST_EDIT_NO_MATCH",
    });
  });

  it("exports bytes as they are, and names the files that hold one", async () => {
    const encoded = Buffer.from(`a${CANARY}`).toString("base64");
    await run(
      workspace,
      `mkdir -p d/e; echo '${CANARY}' >d/e/plain; echo ${encoded} >d/b64; echo no >d/none; ln -s '${CANARY}' d/link`,
    );
    const outputPath = host.path("out");
    const machine = await workspace.machine(NEVER);
    const exported = await exportPath(workspace, machine, { path: "d", outputPath, overwrite: false });
    expect(exported.secretPaths).toEqual(["d/b64", "d/e/plain", "d/link"]);
    expect(exported.warnings).toEqual(["3 of the exported paths hold a secret of the workspace"]);
    expect(await readFile(join(outputPath, "e/plain"), "utf8")).toBe(`${CANARY}\n`);
    expectClean(await keptText(workspace));
  });

  it("keeps them out of the errors of its operations, and of its failure", async () => {
    host.machines.before = (step) => {
      if (step === "renew")
        throw new PyroError("VM_START_FAILED", `console: ${CANARY}`, {
          hint: CANARY,
          details: { tail: [CANARY] },
        });
    };
    await expect(workspace.reset().result).rejects.toMatchObject({
      message: `console: ${REDACTED}`,
      hint: REDACTED,
      details: { tail: [REDACTED] },
    });
    host.machines.before = () => undefined;
    const failed = await host.create({ secrets: SECRETS }, () => Promise.reject(new Error(`in ${CANARY}`)));
    expect(failed.record.failure?.message).toBe(`in ${REDACTED}`);
    await expect(stat(failed.paths.secrets)).rejects.toThrow("ENOENT");
    expectClean(await keptText(failed));
    await workspace.update({ name: "fine" });
    await expect(workspace.update({ name: CANARY })).rejects.toThrow("holds the value of a secret");
    await expect(host.create({ secrets: SECRETS, labels: { a: KEY } })).rejects.toThrow(
      "holds the value of a secret",
    );
  });

  it("is not taken up without its secrets, since nothing could be redacted, and leaves no half-written file", async () => {
    await writeFile(`${workspace.paths.secrets}.123456.tmp`, CANARY);
    await host.restart();
    expect(await readdir(workspace.paths.directory)).not.toContain("secrets.json.123456.tmp");
    const [again] = host.workspaces.all;
    await again?.stop("user").result;
    const saved = await readFile(workspace.paths.secrets);
    await rm(workspace.paths.secrets);
    await host.restart();
    expect(host.workspaces.all).toEqual([]);
    await writeFile(workspace.paths.secrets, saved, { mode: 0o600 });
    await host.restart();
    expect(host.workspaces.all.length).toBe(1);
  });
});

describe("secrets", () => {
  it("are refused where they cannot be kept or hidden, and no error shows a value", () => {
    const refused: [readonly Secret[], RegExp][] = [
      [[secret("A", "")], /A is empty/],
      [[secret("A", "abc")], /A is shorter than 4 bytes/],
      [[secret("A", " a \n\t ")], /A is shorter than 4 bytes/],
      [[secret("A", "with\0nul")], /A holds a NUL byte/],
      [[secret("A", "x".repeat(LIMITS.secretBytes + 1))], /at most 32768/],
      [[secret("1A", "value-1")], /"1A" of a secret is not allowed/],
      [[secret("A", "value-1"), secret("A", "value-2")], /A is given twice/],
      [Array.from({ length: 33 }, (_, index) => secret(`A${index}`, "value-1")), /33 secrets/],
      [["A", "B", "C"].map((name) => secret(name, "x".repeat(30_000))), /90000 bytes together/],
    ];
    for (const [secrets, message] of refused) {
      const error = catching(() => checkSecrets(secrets));
      expect(error.message).toMatch(message);
      expect(error.hint).not.toBe("");
      expect(JSON.stringify(error)).not.toMatch(/value-1|nul|xxxx/);
    }
    expect(catching(() => checkSecrets([secret("A", "abc")])).hint).toContain("cannot be hidden");
    expect(checkSecrets([secret("_a1", "abcd"), secret("B", KEY)]).length).toBe(2);
  });

  it("are written to a file that is 0600 from the beginning", async () => {
    await using host = await WorkspaceHost.start();
    const path = join(host.scratch, "secrets.json");
    await symlink("/nowhere", path);
    await saveSecrets(path, [secret("A", "some-value")]);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await readFile(path, "utf8")).not.toContain("some-value");
  });
});

function catching(work: () => unknown): PyroError {
  try {
    work();
  } catch (error) {
    return PyroError.from(error);
  }
  throw new Error("it did not refuse");
}
