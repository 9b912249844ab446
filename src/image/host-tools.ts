import { statfs } from "node:fs/promises";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import {
  baseEnvironment,
  findProgram,
  installWords,
  launch,
  LaunchError,
  searchPath,
  thisDistribution,
  type ChildExit,
  type Distribution,
} from "../kit/index.js";
import { PyroError, type ErrorCode } from "../protocol/index.js";

/** A program of the host, and what brings it. */
interface HostTool {
  readonly program: string;
  /** Its package as Debian calls it, and elsewhere where that is called otherwise. */
  readonly package: string;
  readonly elsewhere?: Partial<Readonly<Record<Distribution, string>>>;
  readonly neededFor: string;
  /** Nothing is made without it; the others fetch Debian's packages on this host, and make that quicker. */
  readonly required: boolean;
}

const QEMU_IMG = {
  fedora: "qemu-img",
  rhel: "qemu-img",
  arch: "qemu-img",
  suse: "qemu-tools",
  alpine: "qemu-img",
};

/** What making an environment needs. Debian's packages were tried, the others are named as those distributions name them. */
const HOST_TOOLS: readonly HostTool[] = [
  { program: "apt-get", package: "apt", neededFor: "fetching packages", required: false },
  { program: "apt-config", package: "apt", neededFor: "reading the host's package sources", required: false },
  { program: "dpkg-deb", package: "dpkg", neededFor: "unpacking packages", required: false },
  {
    ...{ program: "qemu-img", package: "qemu-utils", elsewhere: { ...QEMU_IMG, nixos: "nixos.qemu" } },
    ...{ neededFor: "making disks", required: true },
  },
  {
    ...{ program: "setpriv", package: "util-linux" },
    elsewhere: { alpine: "setpriv", nixos: "nixos.util-linux" },
    ...{ neededFor: "tying helpers to the daemon", required: true },
  },
  {
    ...{ program: "flock", package: "util-linux", elsewhere: { alpine: "flock", nixos: "nixos.util-linux" } },
    ...{ neededFor: "locking", required: true },
  },
  { program: "mmdebstrap", package: "mmdebstrap", neededFor: "making environments faster", required: false },
  { program: "newuidmap", package: "uidmap", neededFor: "mmdebstrap as an ordinary user", required: false },
];

/** With which a host fetches Debian's packages itself. */
export const APT_TOOLS = ["apt-get", "apt-config", "dpkg-deb"] as const;

/** One tool and whether the host has it. */
interface HostToolState extends HostTool {
  readonly found: boolean;
}

export interface RunOptions {
  readonly signal?: AbortSignal;
  /** Replaces variables of the minimal environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly stdin?: number;
  /** A descriptor for standard output; without it the output is collected or given to `onLine`. */
  readonly stdout?: number;
  /** Called for each line of standard output, which is then not collected. */
  readonly onLine?: (line: string) => void;
  /** Reads standard output as a stream, which is then not collected; when it rejects, the program is ended. */
  readonly consume?: (stream: Readable) => Promise<void>;
  /** Bound of the collected output. */
  readonly maxBytes?: number;
  /** TERM ends the program's whole group at once, also processes that ignore TERM: mmdebstrap's do. */
  readonly killGroup?: boolean;
  /** Time between TERM and KILL when the call is aborted. */
  readonly graceMs?: number;
}

export interface RunResult extends ChildExit {
  readonly stdout: string;
}

const COLLECTED_BYTES = 4 * 1024 * 1024;
/** Less free space than this after a failure means that the disk was the reason, whatever the tool printed. */
const FULL_DISK_BYTES = 1024 * 1024;

/**
 * Runs its arguments and, on TERM, kills its process group. The input is passed on by number because a shell gives what
 * runs in the background an empty one.
 */
const KILL_GROUP = 'exec 3<&0; trap "kill -KILL 0" TERM; "$@" <&3 3<&- & wait $!';

/** Runs the host's programs. `path` replaces PATH, for tests that bring stand-ins. */
export class HostPrograms {
  readonly #env: Readonly<Record<string, string>>;

  constructor(options: { readonly path?: string } = {}) {
    this.#env = { ...baseEnvironment(), ...(options.path === undefined ? {} : { PATH: options.path }) };
  }

  /**
   * Runs a program to its end. It is tied to this process: when the daemon is killed the program gets TERM, so that
   * nothing keeps writing into the cache. A non-zero exit is a result.
   * @throws {PyroError} HOST_TOOL_NOT_FOUND
   */
  async run(program: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    options.signal?.throwIfAborted();
    if ((await this.#find(program)) === undefined) throw await missingTools([program]);
    await using child = await this.#launch(program, args, options);
    const abort = (): void => void child.close();
    options.signal?.addEventListener("abort", abort, { once: true });
    try {
      const chunks: Buffer[] = [];
      let room = options.maxBytes ?? COLLECTED_BYTES;
      let consumed: Promise<void> | undefined;
      if (child.stdout !== null && options.consume !== undefined) {
        consumed = options.consume(child.stdout);
        // Awaited below; a program whose reader gave up would wait for ever.
        consumed.catch(() => child.close());
      } else if (child.stdout !== null && options.onLine !== undefined) {
        createInterface({ input: child.stdout }).on("line", options.onLine);
      } else {
        child.stdout?.on("data", (chunk: Buffer) => {
          if (room > 0) chunks.push(chunk.subarray(0, room));
          room -= chunk.length;
        });
      }
      const exit = await child.exited;
      options.signal?.throwIfAborted();
      await consumed;
      return { ...exit, stdout: Buffer.concat(chunks).toString("utf8") };
    } finally {
      options.signal?.removeEventListener("abort", abort);
    }
  }

  async #launch(program: string, args: readonly string[], options: RunOptions) {
    const leash = options.killGroup === true ? ["sh", "-c", KILL_GROUP, "sh"] : [];
    try {
      return await launch("setpriv", ["--pdeathsig", "TERM", "--", ...leash, program, ...args], {
        env: { ...this.#env, ...options.env },
        stdout: options.stdout ?? "pipe",
        graceMs: options.graceMs ?? 2_000,
        ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
        ...(options.stdin === undefined ? {} : { stdin: options.stdin }),
      });
    } catch (error) {
      if (error instanceof LaunchError && error.code === "ENOENT") throw await missingTools(["setpriv"]);
      throw error;
    }
  }

  async #find(program: string): Promise<string | undefined> {
    return await findProgram(program, searchPath(this.#env["PATH"]));
  }

  /** All tools, with whether they are there. */
  async check(): Promise<HostToolState[]> {
    return Promise.all(
      HOST_TOOLS.map(async (tool) => ({
        ...tool,
        found: (await this.#find(tool.program)) !== undefined,
      })),
    );
  }

  /**
   * Passes when every tool is there that is named, or else that nothing is made without.
   * @throws {PyroError} HOST_TOOL_NOT_FOUND, with one command that installs all that is missing
   */
  async require(programs?: readonly string[]): Promise<void> {
    const isNeeded = ({ required, program }: HostTool): boolean => programs?.includes(program) ?? required;
    const missing = (await this.check()).filter((tool) => isNeeded(tool) && !tool.found);
    if (missing.length > 0) throw await missingTools(missing.map((tool) => tool.program));
  }

  /** Whether the host has all of these programs. */
  async has(...programs: readonly string[]): Promise<boolean> {
    const found = await Promise.all(programs.map((program) => this.#find(program)));
    return !found.includes(undefined);
  }
}

/** What brings missing programs, for a person, and the command that does, as words; none on a distribution that we do not know. */
export interface ToolRemedy {
  readonly hint: string;
  readonly install: readonly string[];
}

/** The remedy for missing host tools; nothing to do where none is missing. */
export function toolRemedy(programs: readonly string[], distribution: Distribution | undefined): ToolRemedy {
  if (programs.length === 0) return { hint: "", install: [] };
  const tools = programs.map((program) => HOST_TOOLS.find((tool) => tool.program === program));
  const named = tools.map((tool, index) => {
    const elsewhere = distribution === undefined ? undefined : tool?.elsewhere?.[distribution];
    return elsewhere ?? tool?.package ?? programs[index] ?? "";
  });
  const packages = [...new Set(named)];
  if (distribution === undefined)
    return { hint: `install them: Debian has them in ${packages.join(", ")}`, install: [] };
  const install = installWords(distribution, packages);
  return { hint: install.join(" "), install };
}

async function missingTools(programs: readonly string[]): Promise<PyroError> {
  const { hint } = toolRemedy(programs, await thisDistribution());
  return new PyroError(
    "HOST_TOOL_NOT_FOUND",
    `this host lacks ${programs.join(", ")}, needed to make environments`,
    { hint, details: { programs } },
  );
}

/** The free bytes that this user may fill at a place. */
async function freeBytes(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(path);
  return bavail * bsize;
}

/**
 * Refuses early what would end in a full disk.
 * @throws {PyroError} DISK_FULL
 */
export async function requireSpace(path: string, neededBytes: number, what: string): Promise<void> {
  const free = await freeBytes(path);
  if (free >= neededBytes) return;
  const mb = (bytes: number): string => `${Math.ceil(bytes / 1e6)} MB`;
  throw new PyroError(
    "DISK_FULL",
    `${what} needs about ${mb(neededBytes)} in ${path}, where ${mb(free)} are free`,
    {
      hint: "free some space (`pyro env prune` removes what nothing uses), then try again",
      details: { path, needed_bytes: neededBytes, free_bytes: free },
      retryable: true,
    },
  );
}

/** The error of a tool that failed: DISK_FULL where that was the reason, else what the tool said. */
export async function toolError(
  what: string,
  exit: ChildExit,
  place: string,
  options: { readonly code?: ErrorCode; readonly hint?: string; readonly output?: string } = {},
): Promise<PyroError> {
  const said = `${options.output ?? ""}\n${exit.stderrTail}`;
  const how = exit.signal === null ? `exit code ${exit.code ?? "unknown"}` : `signal ${exit.signal}`;
  const full =
    /No space left on device|Disk quota exceeded|File too large|ENOSPC/i.test(said) ||
    exit.signal === "SIGXFSZ" ||
    exit.code === 128 + 25 ||
    (await freeBytes(place)) < FULL_DISK_BYTES;
  if (full) {
    return new PyroError("DISK_FULL", `no space left in ${place}: ${what} (${how})`, {
      hint: "free some space (`pyro env prune` removes what nothing uses), then try again",
      details: { path: place, output: tail(said) },
      retryable: true,
    });
  }
  return new PyroError(
    options.code ?? "ENVIRONMENT_BUILD_FAILED",
    `${what} failed (${how}): ${reasonOf(said)}`,
    {
      hint: options.hint ?? "try again; `pyro daemon logs` has the whole output",
      details: { output: tail(said) },
      retryable: true,
    },
  );
}

/** The lines in which apt, dpkg and mmdebstrap name the cause, or the last line there is. */
export function reasonOf(said: string): string {
  const lines = said.split("\n").map((line) => line.trim());
  const errors = lines.filter((line) => /^(E:|dpkg: error|dpkg-deb: error|qemu-img:|error:)/.test(line));
  const chosen =
    errors.length > 0 ? errors.slice(0, 2).join("; ") : (lines.findLast((line) => line !== "") ?? "");
  return chosen === "" ? "it said nothing" : chosen.slice(0, 500);
}

function tail(said: string): string {
  return said.trim().slice(-4_000);
}
