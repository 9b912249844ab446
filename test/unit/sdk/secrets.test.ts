import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parseInput } from "../../../src/operations/index.js";
import { workspaceCreate } from "../../../src/operations/workspace/create.js";
import { secretSources } from "../../../src/operations/workspace/secrets.js";
import { PyroError } from "../../../src/protocol/index.js";
import type { Pyro } from "../../../src/sdk/index.js";
import { cli, type CliRun } from "../../fakes/cli-host.js";
import { mcpSession } from "../../fakes/mcp-client.js";
import { pyroOverFakes, type PyroOverFakes } from "../../fakes/pyro-over-fakes.js";

const CANARY = "canary-7be0 &+value";
const environment = "debian:12";
const secretEnv = { TOKEN: "" };

const text = (data: Uint8Array | undefined): string => Buffer.from(data ?? []).toString();

// Real workspaces over fake machines, through the daemon's service, its real wire and each face.
describe("secrets", () => {
  let fakes: PyroOverFakes;
  let host: PyroOverFakes["host"];
  let served: PyroOverFakes["served"];
  let pyro: Pyro;
  let tokenFile: string;
  beforeEach(async () => {
    fakes = await pyroOverFakes();
    ({ host, served, pyro } = fakes);
    await mkdir(host.path("project"));
    tokenFile = join(host.path("project"), "token");
    await writeFile(tokenFile, `${CANARY}\n`);
  });
  afterEach(() => fakes[Symbol.asyncDispose]());

  const pyroCommand = (...args: string[]): Promise<CliRun> =>
    cli(["--state-dir", served.stateDir, "workspace", ...args]);

  it("through the SDK: a value, bytes or a file, whose one newline is dropped", async () => {
    const { workspaceId, secrets } = await pyro.createWorkspace({
      environment,
      secrets: [
        { name: "TOKEN", filePath: tokenFile },
        { name: "OTHER", value: "other-value\n" },
        { name: "BYTES", value: Buffer.from([0xff, 0xfe, 1, 2]) },
      ],
    });
    expect(secrets).toEqual([
      { name: "TOKEN", sourceKind: "file" },
      { name: "OTHER", sourceKind: "value" },
      { name: "BYTES", sourceKind: "value" },
    ]);
    const command = 'printf %s "$TOKEN" | wc -c; printf "<%s>" "$TOKEN" "$AS" "$BYTES"';
    const all = { TOKEN: "", OTHER: "AS", BYTES: "BYTES" };
    const { output } = await pyro.execWorkspace({ workspaceId, command, secretEnv: all });
    expect(text(output?.stdout.data)).toBe(`${CANARY.length}\n<[REDACTED]><[REDACTED]\n><[REDACTED]>`);
    const heard: string[] = [];
    for await (const event of pyro.streamWorkspaceExec({ workspaceId, command: 'echo "$TOKEN"', secretEnv }))
      if (event.type === "stdout") heard.push(text(event.data));
    expect(heard.join("")).toBe("[REDACTED]\n");
    expect(await pyro.statusWorkspace(workspaceId)).toMatchObject({ secrets });
    await pyro.execWorkspace({ workspaceId, command: 'echo "key $TOKEN" >key; ln -s "$TOKEN" l', secretEnv });
    const read = await pyro.readWorkspaceFile({ workspaceId, path: "key" });
    expect([text(read.data), read.sizeBytes]).toEqual(["key [REDACTED]*********\n", 5 + CANARY.length]);
    const list = await pyro.listWorkspaceFiles({ workspaceId });
    expect(list.entries.map(({ linkTarget }) => linkTarget)).toContain("[REDACTED]");
    const outputPath = host.path("out");
    const exported = await pyro.exportWorkspace({ workspaceId, path: "/workspace", outputPath });
    expect(exported?.secretPaths).toEqual(["key", "l"]);
    const diff = await pyro.diffWorkspace({ workspaceId });
    expect(text(diff.patch)).toContain("+key [REDACTED]");
    const summary = await pyro.summarizeWorkspace(workspaceId);
    expect(JSON.stringify([diff.entries, summary, list])).not.toContain("canary-7be0");
  });

  it("are refused with their reason, and no error of a file or a value shows it", async () => {
    const refuse = async (secrets: Parameters<Pyro["createWorkspace"]>[0]["secrets"]): Promise<PyroError> =>
      await pyro.createWorkspace({ environment, secrets }).then(
        () => Promise.reject(new Error("it was made")),
        (error: unknown) => PyroError.from(error),
      );
    expect((await refuse([{ name: "A", value: "abc" }])).message).toContain("shorter than 4 bytes");
    expect((await refuse([{ name: "A", filePath: "/no/such" }])).message).toContain("(ENOENT)");
    await writeFile(tokenFile, "x".repeat(40_000));
    expect(await refuse([{ name: "A", filePath: tokenFile }])).toMatchObject({ code: "ARGUMENT_TOO_LARGE" });
    const both = { name: "A", value: "v-a-l", filePath: tokenFile } as unknown as {
      name: string;
      value: string;
    };
    expect((await refuse([both])).message).toContain("exactly one");
    expect(host.workspaces.all).toEqual([]);
  });

  it("stay out of the errors of calls that name the workspace, unary, streamed or with a stream of requests", async () => {
    const secrets = [{ name: "TOKEN", value: CANARY }];
    const { workspaceId } = await pyro.createWorkspace({ environment, secrets });
    await pyro.writeWorkspaceFile({ workspaceId, path: "seeded", content: "x" });
    const path = `no/${CANARY}`;
    const calls = [
      () => pyro.readWorkspaceFile({ workspaceId, path }),
      () => pyro.listWorkspaceFiles({ workspaceId, path }),
      () => pyro.execWorkspace({ workspaceId, argv: [path] }),
      () => pyro.writeWorkspaceFile({ workspaceId, path: `seeded/${CANARY}`, content: "x" }),
      async () => {
        for await (const _ of pyro.streamWorkspaceExec({ workspaceId, argv: [path] }));
      },
      () => pyro.exportWorkspace({ workspaceId, path, outputPath: host.path("out") }),
      () => pyro.updateWorkspace({ workspaceId, name: "x", labels: { a: CANARY } }),
    ];
    for (const call of calls) {
      const error = await call().then(
        () => Promise.reject(new Error(`no error of ${call.toString()}`)),
        (thrown: unknown) => PyroError.from(thrown),
      );
      expect(JSON.stringify(error)).not.toContain("canary-7be0");
    }
    await expect(pyro.statusWorkspace("none")).rejects.toMatchObject({ code: "WORKSPACE_NOT_FOUND" });
  });

  it("on the command line: from files, from arguments, with variables of other names", async () => {
    const created = await pyroCommand(
      "create",
      "--json",
      "--secret-file",
      `TOKEN=${tokenFile}`,
      "--secret",
      "B=a=value",
    );
    const record = JSON.parse(created.stdout) as { workspace_id: string; secrets: object[] };
    expect(record.secrets).toEqual([
      { name: "B", source_kind: "value" },
      { name: "TOKEN", source_kind: "file" },
    ]);
    const id = record.workspace_id;
    const line = ["--", "sh", "-c", 'echo "$TOKEN, $AS"; test "$AS" = "a=value"'];
    const ran = await pyroCommand("exec", id, "--secret-env", "TOKEN", "--secret-env", "B=AS", ...line);
    expect([ran.status, ran.stdout]).toEqual([0, "[REDACTED], [REDACTED]\n"]);
    expect((await pyroCommand("status", id)).stdout).toMatch(/secrets\s+B, TOKEN\n/);
    const twice = await pyroCommand("exec", id, "--secret-env", "B", "--secret-env", "B=C", "--", "true");
    expect(twice.stderr).toContain("--secret-env B is given twice");
    const unknown = await pyroCommand("exec", id, "--secret-env", "NONE", "--", "true");
    expect([unknown.status, unknown.stderr]).toEqual([
      125,
      expect.stringContaining("the secrets that it has: B, TOKEN"),
    ]);
    for (const args of [
      ["--secret", "=value-1"],
      ["--secret-file", "value-1"],
      ["--secret", "1A=value-1"],
    ]) {
      const refused = await pyroCommand("create", ...args);
      expect(refused.status).not.toBe(0);
      expect(refused.stdout + refused.stderr).not.toContain("value-1");
    }
  });

  it("are given to services and shells, on the command line, by the SDK and in chat hosts", async () => {
    const secrets = [{ name: "TOKEN", value: CANARY }];
    const { workspaceId } = await pyro.createWorkspace({ environment, secrets });
    const options = { stateDir: served.stateDir, noProjectSource: true, profile: "workspace-full" } as const;
    await using full = await mcpSession(options);
    const given = { workspace_id: workspaceId, secret_env: { TOKEN: "AS" } };
    await pyro.startService({
      workspaceId,
      serviceName: "sdk",
      command: "serve",
      secretEnv: { TOKEN: "AS" },
    });
    const named = ["--secret-env", "TOKEN"];
    expect((await pyroCommand("service", "start", workspaceId, "cli", ...named, "--", "serve")).status).toBe(
      0,
    );
    await full.tool("service_start", { ...given, service_name: "mcp", command: "serve" });
    const { supervisor, shells } = host.machines.machine;
    const held = (env: readonly string[]) => env.find((entry) => entry.includes(CANARY));
    const services = supervisor.specs.map(({ env }) => held(env.map(text)));
    expect(services).toEqual([`AS=${CANARY}`, `TOKEN=${CANARY}`, `AS=${CANARY}`]);
    await pyro.openShell({ workspaceId, secretEnv: { TOKEN: "AS" } });
    expect((await pyroCommand("shell", "open", workspaceId, ...named)).status).toBe(0);
    await full.tool("shell_open", given);
    expect([...shells.all.values()].map(({ env }) => held(env))).toEqual(services);
    const twice = await pyroCommand("shell", "open", workspaceId, ...named, ...named);
    expect(twice.stderr).toContain("--secret-env TOKEN is given twice");
    const unknown = await full.tool("service_stop", {
      workspace_id: workspaceId,
      service_name: CANARY.slice(0, 11),
    });
    expect(unknown.isError).toBe(true);
    const shown = await full.tool("shell_read", { workspace_id: workspaceId, shell_id: CANARY });
    expect(JSON.stringify(shown)).not.toContain("&+value");
  });

  it("are read from standard input, one of them", async () => {
    const face = {
      hostPath: (path: string) => Promise.resolve(path),
      readHostFile: (path: string) => Promise.resolve(Buffer.from(`${path} typed\n`)),
    };
    const [first] = await secretSources({ secret: ["A"] }, face);
    expect([first?.name, text(first?.value as Uint8Array)]).toEqual(["A", "- typed"]);
    await expect(secretSources({ secret: ["A", "B"] }, face)).rejects.toThrow("only one");
    await expect(secretSources({ secrets: [{ name: "A" }] }, face)).rejects.toThrow("exactly one of value");
  });

  it("in chat hosts: in the full profile only, files under the host roots only, and nothing of them in errors", async () => {
    const options = { stateDir: served.stateDir, noProjectSource: true, hostRoots: [host.path("project")] };
    await using full = await mcpSession({ ...options, profile: "workspace-full" });
    const secrets = [{ name: "TOKEN", file_path: tokenFile }];
    const created = await full.tool("workspace_create", { secrets });
    expect(created.record["secrets"]).toEqual([{ name: "TOKEN", source_kind: "file" }]);
    const workspace_id = created.record["workspace_id"];
    const exec = { workspace_id, command: 'echo "$AS"', secret_env: { TOKEN: "AS" } };
    expect((await full.tool("workspace_exec", exec)).texts[1]).toBe("[REDACTED]\n");
    await writeFile(host.path("outside"), CANARY);
    const outside = await full.tool("workspace_create", {
      secrets: [{ name: "A", file_path: host.path("outside") }],
    });
    expect(outside.texts[0]).toContain("HOST_PATH_NOT_ALLOWED");
    for (const wrong of [
      { name: "A", value: CANARY, extra: 1 },
      { value: CANARY },
      CANARY,
      { name: 1, value: CANARY },
    ]) {
      const refused = await full.tool("workspace_create", { secrets: [wrong] });
      expect(refused.isError).toBe(true);
      expect(JSON.stringify(refused)).not.toContain("canary-7be0");
    }
    await using core = await mcpSession({ ...options, profile: "workspace-core" });
    const { tools } = await core.client.listTools();
    expect(JSON.stringify(tools)).not.toContain("secret");
    expect((await core.tool("workspace_create", { secrets })).texts[0]).toContain('unknown: "secrets"');
    expect((await core.tool("workspace_exec", exec)).texts[0]).toContain('unknown: "secret_env"');
  });

  it("of an input are never quoted", () => {
    const given = { secret: ["a-long-enough-value", 7] };
    expect(() => parseInput(workspaceCreate, workspaceCreate.input, given)).toThrow(/^secret\.1: .*$/);
    try {
      parseInput(workspaceCreate, workspaceCreate.input, { secrets: "the-whole-value" });
    } catch (error) {
      expect(JSON.stringify(error)).not.toContain("the-whole-value");
    }
  });
});
