import type { MessageInitShape } from "@bufbuild/protobuf";
import { DEFAULT_MACHINE, LIMITS, PyroError } from "../protocol/index.js";
import type { RunSpecSchema } from "../protocol/gen/pyro/daemon/v1/run_pb.js";
import { networkRulesOf, type NetworkOptions } from "./network-record.js";

/** One command in one fresh VM. */
export interface RunInVmOptions {
  /** For example "debian:12". */
  readonly environment: string;
  /**
   * A shell line for `/bin/sh -lc`; at most one of `command` and `argv`. With neither, the entrypoint of the environment's
   * image is run, with its arguments: COMMAND_REQUIRED where there is none.
   */
  readonly command?: string | undefined;
  /** A program and its arguments, run without a shell. Bytes pass as they are. */
  readonly argv?: readonly (string | Uint8Array)[] | undefined;
  /** Variables of the command. Nothing is ever inherited from the host. */
  readonly env?: Readonly<Record<string, string | Uint8Array>> | undefined;
  /** 1 to 64; default 1. */
  readonly vcpuCount?: number | undefined;
  /** Memory of the VM in MiB; default 1024. */
  readonly memMib?: number | undefined;
  /** Bounds the command; default 120 s. A command that takes longer is killed and its result says `timedOut`. */
  readonly timeoutSeconds?: number | undefined;
  /** Bounds the VM; default 600 s, or what `timeoutSeconds` needs where that is more. */
  readonly ttlSeconds?: number | undefined;
  /** Reaching the internet from the VM; default false. */
  readonly network?: boolean | NetworkOptions | undefined;
  /** Refuses an environment that is not on this host instead of pulling it; default false. */
  readonly noPull?: boolean | undefined;
}

/** A run as it is said to the wire. */
export type RunSpecInit = MessageInitShape<typeof RunSpecSchema>;

/** Time that a VM needs besides its command, within its TTL. */
const TTL_MARGIN_SECONDS = 120;
const DEFAULTS = { ...DEFAULT_MACHINE, timeoutSeconds: 120, ttlSeconds: 600 };

/**
 * The options as the wire carries them.
 * @throws {PyroError} INVALID_ARGUMENT, ARGUMENT_TOO_LARGE: with the name and the value seen
 */
export function toRunSpec(options: RunInVmOptions): RunSpecInit {
  if (typeof options.environment !== "string" || options.environment === "") {
    throw invalid("environment", "is missing", "name one of `pyro env list`, for example debian:12");
  }
  const words = toCommandWords(options, { needed: false });
  const seconds = integer(
    "timeoutSeconds",
    options.timeoutSeconds ?? DEFAULTS.timeoutSeconds,
    1,
    LIMITS.longestSeconds,
  );
  const ttlDefault = Math.min(
    Math.max(DEFAULTS.ttlSeconds, seconds + TTL_MARGIN_SECONDS),
    LIMITS.longestSeconds,
  );
  return {
    ...words,
    environment: options.environment,
    vcpuCount: integer("vcpuCount", options.vcpuCount ?? DEFAULTS.vcpuCount, 1, LIMITS.vcpuCountMax),
    memMib: integer("memMib", options.memMib ?? DEFAULTS.memMib, LIMITS.memMibMin, LIMITS.memMibMax),
    timeoutMs: seconds * 1000,
    ttlMs: integer("ttlSeconds", options.ttlSeconds ?? ttlDefault, 1, LIMITS.longestSeconds) * 1000,
    ...networkRulesOf(options.network),
    noPull: options.noPull ?? false,
  };
}

/**
 * What is run, and with which variables, as the wire carries it.
 * @throws {PyroError} INVALID_ARGUMENT, ARGUMENT_TOO_LARGE: with the name and the value seen
 */
export function toCommandWords(
  options: Pick<RunInVmOptions, "command" | "argv" | "env">,
  { needed } = { needed: true },
): {
  argv: Uint8Array[];
  command: string;
  env: Uint8Array[];
} {
  const argv = (options.argv ?? []).map(toBytes);
  const command = options.command ?? "";
  const count = [options.argv, options.command].filter((given) => given !== undefined).length;
  if (count > 1 || (needed && count === 0)) {
    throw invalid(
      "command and argv",
      needed ? "need exactly one of the two" : "exclude each other",
      "give a shell line as command, or a program as argv",
    );
  }
  if (options.argv?.length === 0) throw invalid("argv", "is empty", "give at least the program to run");
  if (options.command?.trim() === "") throw invalid("command", "is empty", "give the shell line to run");
  const env = Object.entries(options.env ?? {}).map(toEntry);
  requireRoom([...argv, ...env, ...(command === "" ? [] : [Buffer.from(command)])]);
  return { argv, command, env };
}

function toBytes(value: string | Uint8Array, index: number): Uint8Array {
  const bytes = typeof value === "string" ? Buffer.from(value) : value;
  refuseNul(`argv[${index}]`, bytes);
  return bytes;
}

function toEntry([name, value]: [string, string | Uint8Array]): Uint8Array {
  if (name === "" || name.includes("=")) {
    throw invalid(
      "env",
      `has the name ${JSON.stringify(name)}`,
      "a variable's name is not empty and holds no `=`",
    );
  }
  const bytes = Buffer.concat([
    Buffer.from(`${name}=`),
    typeof value === "string" ? Buffer.from(value) : value,
  ]);
  refuseNul(`env ${name}`, bytes);
  return bytes;
}

function refuseNul(what: string, bytes: Uint8Array): void {
  const at = bytes.indexOf(0);
  if (at < 0) return;
  throw invalid(
    what,
    `holds a NUL byte at offset ${at}`,
    "no program can receive one: pass such data through stdin",
  );
}

/** The bounds of Linux's execve (MAX_ARG_STRLEN counts the final NUL), checked before a VM is started for nothing. */
function requireRoom(entries: readonly Uint8Array[]): void {
  let total = 0;
  for (const [index, entry] of entries.entries()) {
    total += entry.length + 1;
    if (entry.length + 1 > LIMITS.argumentBytes) {
      throw tooLarge(
        `argument or variable ${index} has ${entry.length} bytes`,
        LIMITS.argumentBytes - 1,
        entry.length,
      );
    }
  }
  if (entries.length > LIMITS.argumentCount) {
    throw tooLarge(
      `there are ${entries.length} arguments and variables`,
      LIMITS.argumentCount,
      entries.length,
    );
  }
  if (total > LIMITS.argumentsTotalBytes) {
    throw tooLarge(`arguments and variables have ${total} bytes together`, LIMITS.argumentsTotalBytes, total);
  }
}

function tooLarge(seen: string, limit: number, value: number): PyroError {
  return new PyroError("ARGUMENT_TOO_LARGE", `${seen}; the limit is ${limit}`, {
    hint: "pass the data through stdin, or write it to a file first",
    details: { limit, value },
  });
}

function integer(name: string, value: number, min: number, max: number): number {
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw invalid(name, `is ${value}`, `give a whole number from ${min} to ${max}`);
}

function invalid(what: string, seen: string, hint: string): PyroError {
  return new PyroError("INVALID_ARGUMENT", `${what}: ${seen}`, { hint, details: { argument: what } });
}
