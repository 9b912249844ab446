import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { exists, readJsonFile, writeFileAtomic } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import { CommandOutput } from "./command-output.js";
import { Redactor } from "./secrets/index.js";
import { WorkspaceCommand, type CommandFacts } from "./workspace-command.js";

const exitSchema = z.object({
  exitCode: z.number().nullable(),
  signal: z.string().nullable(),
  timedOut: z.boolean(),
  outOfMemory: z.boolean(),
  durationUs: z.number(),
});

const factsSchema = z.object({
  sequence: z.number(),
  command: z.string(),
  cwd: z.string(),
  secrets: z.array(z.string()).optional(),
  startedAtMs: z.number(),
  /** Absent while it runs. */
  exit: exitSchema.optional(),
  /** Why it ended without an exit: its machine was lost, reset or stopped. */
  interrupted: z.string().optional(),
});

/**
 * The commands of a workspace since its last reset, by sequence: a directory each, with what it was, how it ended and
 * what it wrote. Of the oldest that ended only so many are kept.
 */
export class CommandLog implements AsyncDisposable {
  readonly #commands = new Map<number, WorkspaceCommand>();

  private constructor(
    private readonly directory: string,
    private readonly redactor: Redactor,
  ) {}

  /** Reads what an earlier daemon left; commands that ran then are `running` here, and nobody follows them yet. */
  static async open(directory: string, redactor = Redactor.none): Promise<CommandLog> {
    const log = new CommandLog(directory, redactor);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await log.load();
    return log;
  }

  /** Reads what is in the directory; nothing of it may be known yet. */
  async load(): Promise<void> {
    for (const sequence of (await this.#kept()).sort((a, b) => a - b)) {
      const path = join(this.directory, String(sequence));
      const record = join(path, "command.json");
      const facts = factsSchema.safeParse(await readJsonFile(record));
      if (!facts.success || facts.data.sequence !== sequence) {
        // Killed before its first record: nobody was told of it. One that cannot be read is left alone.
        if (!(await exists(record))) await rm(path, { recursive: true, force: true });
        continue;
      }
      const output = await CommandOutput.reopen(join(path, "output"), this.redactor).catch(missing);
      // Killed while it was removed.
      if (output === undefined) await rm(path, { recursive: true, force: true });
      else this.#commands.set(sequence, this.#toCommand(facts.data, output));
    }
  }

  async #kept(): Promise<number[]> {
    return (await readdir(this.directory)).map(Number).filter((value) => Number.isSafeInteger(value));
  }

  /** In the order of their start. */
  get all(): readonly WorkspaceCommand[] {
    return [...this.#commands.values()];
  }

  get running(): readonly WorkspaceCommand[] {
    return this.all.filter((command) => command.isRunning);
  }

  /** Records a command that is about to be started. */
  async add(facts: CommandFacts): Promise<WorkspaceCommand> {
    const path = join(this.directory, String(facts.sequence));
    await mkdir(path, { mode: 0o700 });
    const output = await CommandOutput.create(join(path, "output"), this.redactor);
    const command = this.#toCommand(facts, output);
    await this.#record(facts);
    this.#commands.set(facts.sequence, command);
    await this.#trim();
    return command;
  }

  /**
   * One command.
   * @throws {PyroError} SEQUENCE_NOT_FOUND
   */
  find(sequence: number): WorkspaceCommand {
    const command = this.#commands.get(sequence);
    if (command !== undefined) return command;
    const known = [...this.#commands.keys()];
    throw new PyroError("SEQUENCE_NOT_FOUND", `there is no command ${sequence} in this workspace`, {
      hint:
        known.length === 0
          ? "no command has run since it was made or reset"
          : `there are ${known[0] ?? 0} to ${known.at(-1) ?? 0}; a reset clears those before it`,
    });
  }

  /** Forgets all of them, and what they wrote; none may run any more. */
  async clear(): Promise<void> {
    for (const sequence of new Set([...this.#commands.keys(), ...(await this.#kept())]))
      await this.remove(sequence);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.all.map((command) => command.output[Symbol.asyncDispose]()));
  }

  #toCommand(facts: CommandFacts, output: CommandOutput): WorkspaceCommand {
    return new WorkspaceCommand(facts, output, (now) => this.#record(now));
  }

  async #record(facts: CommandFacts): Promise<void> {
    const path = join(this.directory, String(facts.sequence), "command.json");
    // What a reset removed meanwhile stays removed.
    await writeFileAtomic(path, JSON.stringify(facts)).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    });
  }

  async #trim(): Promise<void> {
    let bytes = this.all.reduce((sum, { output }) => sum + output.keptBytes, 0);
    for (const command of this.all) {
      if (this.#commands.size <= LIMITS.commandsKept && bytes <= LIMITS.commandOutputTotalBytes) return;
      if (command.isRunning) continue;
      bytes -= command.output.keptBytes;
      await this.remove(command.sequence);
    }
  }

  /** Forgets one, and what it wrote. */
  async remove(sequence: number): Promise<void> {
    const command = this.#commands.get(sequence);
    this.#commands.delete(sequence);
    await command?.output[Symbol.asyncDispose]();
    // A record may be on its way into it: what came behind the listing is removed by the next try.
    const path = join(this.directory, String(sequence));
    await rm(path, { recursive: true, force: true, maxRetries: 10, retryDelay: 10 });
  }
}

function missing(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
  throw error;
}
