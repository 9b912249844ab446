import { spawnSync } from "node:child_process";

/** A build step failed in a way the reader can act on: what failed, and the next thing to type. */
export class BuildError extends Error {
  constructor(message, hint) {
    super(message);
    this.hint = hint;
  }
}

/** One line of progress; stdout stays free for results. */
export function progress(text) {
  process.stderr.write(`runtime: ${text}\n`);
}

/** Runs a program to its end (argv only, no shell) and gives its stdout as a buffer. */
export function run(program, args, { cwd, env, input, hint } = {}) {
  const result = spawnSync(program, args, {
    cwd,
    env: env ?? process.env,
    input,
    maxBuffer: 512 * 1024 * 1024,
    stdio: ["pipe", "pipe", "pipe"],
  });
  if (result.error?.code === "ENOENT")
    throw new BuildError(`${program} is not on this machine`, hint ?? `sudo apt-get install -y ${program}`);
  if (result.error !== undefined) throw result.error;
  if (result.status !== 0) {
    const tail = result.stderr.toString("utf8").trim().split("\n").slice(-8).join("\n");
    throw new BuildError(
      `${program} ${args[0] ?? ""} failed (${result.signal ?? `exit ${result.status}`}): ${tail}`,
      hint ?? "",
    );
  }
  return result.stdout;
}
