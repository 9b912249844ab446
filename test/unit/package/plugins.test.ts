import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import * as z from "zod";

const ROOT = join(import.meta.dirname, "../../..");
const text = (path: string): Promise<string> => readFile(join(ROOT, path), "utf8");
const parsed = async (path: string): Promise<Record<string, unknown>> =>
  JSON.parse(await text(path)) as Record<string, unknown>;

/** Starts the pyro that is installed, else fetches it: one line, the same for all. */
const LINE = /then exec pyro mcp serve; else exec npx -y -p pyro-mcp pyro mcp serve; fi$/;

test("the plugins have the package's version, and the same skill", async () => {
  const { version, license } = await parsed("package.json");
  for (const path of ["claude-code/.claude-plugin/plugin.json", "codex/.codex-plugin/plugin.json"])
    expect(await parsed(`plugins/${path}`), path).toMatchObject({ name: "pyro", version, license });
  expect(await text("plugins/codex/skills/repro-fix/SKILL.md")).toBe(
    await text("plugins/claude-code/skills/repro-fix/SKILL.md"),
  );
});

test("each starts the server in the same way", async () => {
  const server = async (path: string): Promise<unknown> => await parsed(`plugins/${path}`);
  const args: unknown = ["-c", expect.stringMatching(LINE)];
  const pyro = { command: "sh", args };
  expect(await server("claude-code/.mcp.json")).toEqual({ mcpServers: { pyro } });
  expect(await server("codex/.mcp.json")).toEqual({
    mcpServers: { pyro: { ...pyro, startup_timeout_sec: 60 } },
  });
  const command: unknown = ["sh", "-c", expect.stringMatching(LINE)];
  expect(await server("opencode/opencode.json")).toMatchObject({
    mcp: { pyro: { type: "local", enabled: true, command } },
  });
});

/** What the registry's schema of 2025-12-11 and its checks demand of the parts that are used here. */
const version = z.string().regex(/^\d+\.\d+\.\d+(-[\w.]+)?$/);
const argument = z.strictObject({ type: z.literal("positional"), value: z.string().min(1) });
const serverJson = z.strictObject({
  $schema: z.literal("https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"),
  name: z
    .string()
    .min(3)
    .max(200)
    .regex(/^[a-zA-Z0-9.-]+\/[a-zA-Z0-9._-]+$/),
  title: z.string().min(1).max(100),
  description: z.string().min(1).max(100),
  version,
  packages: z
    .array(
      z.strictObject({
        registryType: z.literal("npm"),
        identifier: z.string(),
        version,
        runtimeHint: z.literal("npx"),
        transport: z.strictObject({ type: z.literal("stdio") }),
        runtimeArguments: z.array(argument),
        packageArguments: z.array(argument),
      }),
    )
    .length(1),
});

test("the registry's entry is what its schema takes, and the package says the same name", async () => {
  const entry = serverJson.parse(await parsed("plugins/mcp-registry/server.json"));
  const { name, version: own, mcpName, bin } = await parsed("package.json");
  const [{ identifier, version: packaged, packageArguments }] = entry.packages as [
    (typeof entry.packages)[number],
  ];
  // The registry fetches the package and compares its mcpName.
  expect({ name: entry.name, version: entry.version }).toEqual({ name: mcpName, version: own });
  expect({ identifier, packaged }).toEqual({ identifier: name, packaged: own });
  // `npx pyro-mcp` runs the only command that the package has, whatever its name.
  expect(Object.keys(bin as object)).toEqual(["pyro"]);
  expect(packageArguments.map(({ value }) => value)).toEqual(["mcp", "serve"]);
});
