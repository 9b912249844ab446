import { spawn } from "node:child_process";
import { join } from "node:path";
import type { ChatHost, HostSetup } from "./hosts.js";
import { BIN, NODE_BIN } from "./installed.js";
import { scriptedModel, type Script } from "./scripted-model.js";

export interface HostRun extends Pick<HostSetup, "home" | "server" | "serverEnv"> {
  /** Its working directory: the user's checkout. */
  readonly checkout: string;
  readonly script: Script;
}

/** Longest run of a host, in milliseconds: a host that hangs is ended with all it started. */
const RUN_MS = 150_000;

const NOWHERE = "http://127.0.0.1:9";

/** Of a host's own output, in errors. */
const SAID_CHARS = 4_000;

/** Unique enough to know the conversation by it; no quotes, because OpenCode quotes them again. */
const PROMPT = "Please make the failing test of this repository pass, with the tools of pyro.";

/** Runs a host once with a model that plays the script; rejects with what failed in the script, or in the host. */
export async function runHost(host: ChatHost, { checkout, script, ...setup }: HostRun): Promise<void> {
  await using model = await scriptedModel({ api: host.api, prompt: PROMPT, script });
  const { argv, env } = await host.prepare({ ...setup, modelUrl: model.url, prompt: PROMPT });
  const ended = await endOf(argv, checkout, {
    PATH: `${NODE_BIN}:${process.env["PATH"] ?? ""}`,
    HOME: setup.home,
    TERM: "dumb",
    // Whatever a host would like to fetch: it gets nothing.
    HTTP_PROXY: NOWHERE,
    HTTPS_PROXY: NOWHERE,
    NO_PROXY: "127.0.0.1,localhost",
    ...env,
  });
  const said = ended.output.slice(-SAID_CHARS);
  await model.finished(said);
  if (ended.status !== "exit 0") throw new Error(`${host.name}: ${ended.status}\n${said}`);
}

interface Ended {
  /** "exit 0", "killed SIGKILL". */
  readonly status: string;
  readonly output: string;
}

function endOf(
  [program, ...args]: readonly [string, ...string[]],
  cwd: string,
  env: Readonly<Record<string, string>>,
): Promise<Ended> {
  const child = spawn(join(BIN, program), args, {
    cwd,
    env,
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const late = setTimeout(() => {
    // The group: some hosts are a script that starts the program.
    if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
  }, RUN_MS);
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => {
      clearTimeout(late);
      resolve({ status: signal === null ? `exit ${code ?? "?"}` : `killed ${signal}`, output });
    });
  });
}
