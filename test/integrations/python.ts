import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { ended, endpointVariables, type Ended } from "./frameworks.js";

const ROOT = join(import.meta.dirname, "../..");
const EXAMPLES = join(ROOT, "examples/python");
/** What pip says where it reaches no index, and Python where it has no venv: no fault of this project. */
const NOT_HERE =
  /Temporary failure in name resolution|Connection (refused|reset)|ensurepip is not available|ENOENT/;
const INSTALL_MS = 300_000;

/** A Python that has what examples/python asks for, made once for these requirements; or why there is none here. */
export async function installPython(): Promise<{ readonly program: string } | { readonly missing: string }> {
  const requirements = join(EXAMPLES, "requirements.txt");
  const key = createHash("sha256")
    .update(await readFile(requirements))
    .digest("hex")
    .slice(0, 16);
  const place = join(ROOT, "node_modules/.cache/pyro", `python-${key}`);
  const program = join(place, "bin/python3");
  if (existsSync(join(place, "whole"))) return { program };
  await rm(place, { recursive: true, force: true });
  try {
    const execute = promisify(execFile);
    const limits = { timeout: INSTALL_MS, maxBuffer: 16 << 20 };
    await execute("python3", ["-m", "venv", place], limits);
    const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements];
    await execute(program, pip, limits);
    await writeFile(join(place, "whole"), "");
  } catch (error) {
    const { message, stderr = "" } = error as Error & { stderr?: string };
    const why = NOT_HERE.exec(`${message}\n${stderr}`)?.[0];
    if (why === undefined) throw error;
    return { missing: `examples/python: ${why}` };
  }
  return { program };
}

/** Runs the example with a state directory and a model's endpoint of the test's own. */
export async function runPythonExample(program: string, stateDir: string, modelUrl: string): Promise<Ended> {
  // MCP clients hand on no variables but what every program needs.
  const pyro = ["env PYRO_POOL=0", process.execPath, join(ROOT, "bin/pyro"), "--state-dir", stateDir].join(
    " ",
  );
  const env = { ...endpointVariables(modelUrl), PYRO: pyro };
  return await ended(program, [join(EXAMPLES, "pydantic_ai_mcp.py")], EXAMPLES, env);
}
