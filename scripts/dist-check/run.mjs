import { spawnSync } from "node:child_process";

const started = Date.now();

/** A line of progress with the seconds since the start. */
export function stage(text) {
  process.stderr.write(`\n### dist-check: ${text} (${Math.round((Date.now() - started) / 1000)} s)\n`);
}

/** What was looked at is not as it should be: the words say what, and what was seen. */
export class Wrong extends Error {}

/** Throws unless it holds. */
export function must(holds, words) {
  if (!holds) throw new Wrong(words);
}

/** Runs a program to its end and gives what it wrote to standard output; its standard error goes to ours. */
export function run(program, args, options = {}) {
  const result = spawnSync(program, args, {
    ...{ encoding: "utf8", stdio: ["ignore", "pipe", "inherit"], maxBuffer: 64 << 20, ...options },
  });
  if (result.error !== undefined) throw result.error;
  const said = result.stdout === null ? "" : `: ${result.stdout.slice(-2000)}`;
  must(
    result.status === 0,
    `${program} ${args.join(" ")} ended with ${result.signal ?? result.status}${said}`,
  );
  return result.stdout ?? "";
}
