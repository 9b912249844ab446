/** What the integrations for frameworks do without their frameworks, and with those that they are not for. */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { describe, expect, it, onTestFinished } from "vitest";
import { aiTools } from "../../../src/integrations/ai.js";
import { runnableTools } from "../../../src/integrations/anthropic.js";
import { checkPeer, missing, PEERS, type PeerName } from "../../../src/integrations/shared/peer.js";
import type { PyroTool, ToolAnswer } from "../../../src/mcp/index.js";

const root = join(import.meta.dirname, "../../..");

/** A module's address in a project that has the package in that version. */
async function projectWith(name: PeerName, version: string): Promise<string> {
  const project = await mkdtemp(join(tmpdir(), "pyro-peer-"));
  onTestFinished(() => rm(project, { recursive: true, force: true }));
  await mkdir(join(project, "node_modules", name), { recursive: true });
  await writeFile(join(project, "node_modules", name, "package.json"), JSON.stringify({ name, version }));
  return pathToFileURL(join(project, "main.js")).href;
}

/** A tool that answers so, and remembers with what it was called. */
function toolThat(answer: ToolAnswer): PyroTool & { readonly calls: unknown[][] } {
  const calls: unknown[][] = [];
  return {
    ...{ name: "vm_run", title: "Run", description: "Runs a command.", calls },
    inputSchema: { type: "object", properties: { command: { type: "string" } }, additionalProperties: false },
    annotations: { readOnlyHint: false, destructiveHint: false, idempotentHint: false, openWorldHint: false },
    call: (...args) => {
      calls.push(args);
      return Promise.resolve(answer);
    },
  };
}

const FAILED: ToolAnswer = { isError: true, text: "INVALID_ARGUMENT: no", parts: [], fields: {} };
const DONE: ToolAnswer = { isError: false, text: "exit 0", parts: [], fields: {} };

describe("The framework beside an integration", () => {
  it("is asked for as package.json does", async () => {
    const { peerDependencies } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as {
      peerDependencies: Record<string, string>;
    };
    for (const [name, [first, end]] of Object.entries(PEERS))
      expect(peerDependencies[name]).toBe(`>=${first} <${end}`);
  });

  it.each(["6.0.326", "5.0.277", "8.0.0", "8.0.0-beta.1"])("is refused in version %s", async (version) => {
    const from = await projectWith("ai", version);
    expect(() => checkPeer("ai", from)).toThrow(
      `pyro-mcp works with ai >=7.0.0 <8.0.0; ai ${version} is installed: npm install "ai@>=7.0.0 <8.0.0"`,
    );
  });

  it.each(["7.0.0", "7.0.173", "7.9.1"])("is taken in version %s", async (version) => {
    const from = await projectWith("ai", version);
    expect(() => checkPeer("ai", from)).not.toThrow();
  });

  it("need not be there where only its types are needed", () => {
    expect(() => checkPeer("@mastra/core", pathToFileURL("/nowhere/main.js").href)).not.toThrow();
  });

  it.each(["@langchain/core", "deepagents"] as const)(
    "is named where %s is needed and missing",
    async (name) => {
      const built = join(root, "dist/integrations", `${name.replace(/^@|\/core$/g, "")}.js`);
      // By Node itself, which looks for packages as a user's program does.
      const { stderr } = await promisify(execFile)(process.execPath, [
        "--eval",
        `import(${JSON.stringify(pathToFileURL(built).href)}).catch(({ message }) => console.error(message))`,
      ]);
      const [first, end] = PEERS[name];
      const range = `>=${first} <${end}`;
      expect(stderr).toBe(`pyro-mcp needs ${name} ${range} for this: npm install "${name}@${range}"\n`);
    },
  );

  it("is not blamed for another failure", () => {
    const error = new Error("something else");
    expect(() => missing("deepagents")(error)).toThrow(error);
  });
});

describe("A call that fails", () => {
  it("is an error of the AI SDK's, with the tool's own words", async () => {
    const { vm_run: tool } = aiTools([toolThat(FAILED)]);
    const output = await tool?.execute({ comand: "true" }, {});
    expect(output).toBe(FAILED);
    expect(tool?.toModelOutput({ output: FAILED })).toEqual({ type: "error-text", value: FAILED.text });
    expect(tool?.toModelOutput({ output: DONE })).toEqual({ type: "text", value: DONE.text });
  });

  it("is an error of Anthropic's tool runner, with the tool's own words", async () => {
    const [tool] = runnableTools([toolThat(FAILED)]);
    await expect(tool?.run({ comand: "true" })).rejects.toThrow(FAILED.text);
  });
});

describe("A tool", () => {
  it("gets arguments and signal as the model and the program gave them", async () => {
    const pyroTool = toolThat(DONE);
    const { signal } = new AbortController();
    await aiTools([pyroTool])["vm_run"]?.execute({ comand: 1 }, { abortSignal: signal });
    await runnableTools([pyroTool])[0]?.run({ comand: 1 }, { signal });
    expect(pyroTool.calls).toEqual(Array(2).fill([{ comand: 1 }, { signal }]));
  });

  it("has its schema as it is, and refuses nothing before the call", () => {
    const pyroTool = toolThat(DONE);
    const standard = aiTools([pyroTool])["vm_run"]?.inputSchema["~standard"];
    expect(standard?.jsonSchema.input()).toEqual(pyroTool.inputSchema);
    expect(standard?.validate({ comand: 1 })).toEqual({ value: { comand: 1 } });
    expect(runnableTools([pyroTool])[0]?.input_schema).toEqual(pyroTool.inputSchema);
  });
});
