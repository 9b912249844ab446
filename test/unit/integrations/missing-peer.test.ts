import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { PEERS } from "../../../src/integrations/shared/peer.js";

const root = join(import.meta.dirname, "../../..");
const PROGRAM = `
  await import("pyro-mcp/openai");
  const { PyroSandboxClient } = await import("pyro-mcp/openai-agents");
  const error = await new PyroSandboxClient({}).create().catch((error) => error);
  console.log(JSON.stringify({ name: error.name, code: error.code, message: error.message, hint: error.hint }));`;
const [FIRST, END] = PEERS["@openai/agents"];
const HINT = `npm install "@openai/agents@>=${FIRST} <${END}"`;

// The package as it is installed, beside nothing.
let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "pyro-installed-"));
  const installed = join(directory, "node_modules/pyro-mcp");
  await mkdir(installed, { recursive: true });
  for (const name of ["dist", "package.json"])
    await cp(join(root, name), join(installed, name), { recursive: true, mode: 1 });
});
afterAll(async () => {
  await rm(directory, { recursive: true });
});

async function failure(): Promise<unknown> {
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", PROGRAM], {
    cwd: directory,
  });
  return JSON.parse(stdout) as unknown;
}

it("loads without its framework, and says what to install where that is needed", async () => {
  expect(await failure()).toMatchObject({
    ...{ name: "PyroError", code: "CONFIG_INVALID", hint: HINT },
    message: expect.stringMatching(/cannot be loaded: .*Cannot find package '@openai\/agents'/) as string,
  });
});

it("says that a framework is of another version", async () => {
  const framework = join(directory, "node_modules/@openai/agents");
  await mkdir(framework, { recursive: true });
  const described = {
    name: "@openai/agents",
    version: "0.99.0",
    type: "module",
    exports: { "./sandbox": "./s.js" },
  };
  await writeFile(join(framework, "package.json"), JSON.stringify(described));
  await writeFile(join(framework, "s.js"), "export const Manifest = 1;");
  expect(await failure()).toMatchObject({
    ...{ name: "PyroError", code: "CONFIG_INVALID", hint: HINT },
    message: "this version of the Agents SDK has other sandboxes",
  });
});
