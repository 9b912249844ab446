import { vmRun } from "../operations/vm/run.js";
import type { RunInVmOptions } from "../sdk/index.js";
import { splitPair } from "./pair.js";
import { proven } from "./proven.js";
import { RawArguments } from "./raw-arguments.js";

/** What `pyro run` was given as options of the SDK; words that are not UTF-8 keep their bytes. */
export function toRunOptions(input: Record<string, unknown>, rawArgv: readonly Uint8Array[]): RunInVmOptions {
  const { record, take } = takeVariables(input["env"]);
  const words = input["argv"] as readonly string[] | undefined;
  const given = proven(vmRun, { ...input, argv: words?.length === 0 ? undefined : words, env: record });
  const raw = new RawArguments(rawArgv);
  const env = take(raw);
  return {
    environment: given.environment,
    // Without words it is the environment's own command.
    argv: given.argv?.map((word) => raw.take(word)),
    env,
    vcpuCount: given.vcpu_count,
    memMib: given.mem_mib,
    timeoutSeconds: given.timeout_seconds,
    ttlSeconds: given.ttl_seconds,
    network: given.network,
    noPull: given.no_pull,
  };
}

/** The `--env` options: as text for proving them, and with their true bytes. */
export function takeVariables(options: unknown): {
  readonly record: Record<string, string>;
  readonly take: (raw: RawArguments) => Record<string, string | Uint8Array>;
} {
  const variables = ((options ?? []) as readonly string[]).map((text) =>
    splitPair(text, "--env", "write `--env NAME=value`; nothing is taken over from this host"),
  );
  return {
    record: Object.fromEntries(variables),
    take: (raw) =>
      Object.fromEntries(
        variables.map(([name, value]) => {
          const bytes = raw.take(`${name}=${value}`);
          const isText = typeof bytes === "string";
          return [name, isText ? value : bytes.subarray(bytes.indexOf("=".charCodeAt(0)) + 1)] as const;
        }),
      ),
  };
}
