import { vmRun } from "../operations/vm/run.js";
import type { RunInVmOptions } from "../sdk/index.js";
import { UsageError } from "./failure.js";
import { proven } from "./proven.js";
import { RawArguments } from "./raw-arguments.js";

/** What `pyro run` was given as options of the SDK; words that are not UTF-8 keep their bytes. */
export function toRunOptions(input: Record<string, unknown>, rawArgv: readonly Uint8Array[]): RunInVmOptions {
  const variables = ((input["env"] ?? []) as readonly string[]).map(splitVariable);
  const given = proven(vmRun, { ...input, env: Object.fromEntries(variables) });
  const raw = new RawArguments(rawArgv);
  const env = variables.map(([name, value]) => {
    const bytes = raw.take(`${name}=${value}`);
    return [
      name,
      typeof bytes === "string" ? value : bytes.subarray(bytes.indexOf("=".charCodeAt(0)) + 1),
    ] as const;
  });
  return {
    environment: given.environment,
    argv: (given.argv ?? []).map((word) => raw.take(word)),
    env: Object.fromEntries(env),
    vcpuCount: given.vcpu_count,
    memMib: given.mem_mib,
    timeoutSeconds: given.timeout_seconds,
    ttlSeconds: given.ttl_seconds,
    network: given.network,
    noPull: given.no_pull,
  };
}

function splitVariable(text: string): [string, string] {
  const at = text.indexOf("=");
  if (at > 0) return [text.slice(0, at), text.slice(at + 1)];
  throw new UsageError(
    `--env ${JSON.stringify(text)} is not NAME=VALUE`,
    "write `--env NAME=value`; nothing is taken over from this host",
  );
}
