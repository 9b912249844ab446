import type * as z from "zod";
import type { NetworkOptions, Pyro, WorkspaceSource } from "../sdk/index.js";

/** Tool sets of the MCP server that exist in this version, in the order of the documentation. */
export const PROFILES = ["vm-run", "workspace-core", "workspace-full"] as const;
export type Profile = (typeof PROFILES)[number];

/** Tool sets by what they are for; each is a part of a profile, or more than one. */
export const MODES = ["repro-fix", "inspect", "cold-start", "review-eval"] as const;
export type Mode = (typeof MODES)[number];

/** What decides which operations are tools: one profile, or one mode. */
export type ToolSet = Profile | Mode;

/** What an operation does to the world; MCP's hints derive from it. */
export type Kind = "read" | "write" | "destroy";

interface Example {
  /** The whole command line; of an operation without a command the call of the tool, or of the SDK. */
  readonly command: string;
  readonly says: string;
}

/** What every face needs to know about an operation. */
export interface Declaration<Input extends z.ZodObject = z.ZodObject> {
  /** Name of the MCP tool, and of the reference page. */
  readonly name: string;
  /** Words of the command, for example ["env", "pull"]; none where programs and models alone have it. */
  readonly command: readonly string[];
  /** One line. */
  readonly summary: string;
  /** What a person reads in --help, below the summary; may be empty. */
  readonly description: string;
  /** The MCP profiles and modes that have it as a tool. */
  readonly profiles: readonly ToolSet[];
  readonly kind: Kind;
  /** Flat and bounded; unknown fields are refused. Each field carries its description. */
  readonly input: Input;
  /** Fields that stand as words on the command line, in order; an array field takes all the rest. */
  readonly positionals: readonly (keyof z.output<Input> & string)[];
  /** Words that may be left out though they have no default, the last of the positionals. */
  readonly mayBeLeftOut?: readonly (keyof z.output<Input> & string)[];
  /** Fields that the command line calls otherwise: a repeatable option has its singular. */
  readonly commandLineNames?: Readonly<Partial<Record<keyof z.output<Input> & string, string>>>;
  /** Fields that the command line has as one letter too. */
  readonly letters?: Readonly<Partial<Record<keyof z.output<Input> & string, string>>>;
  /** Field of the result that `--id-only` prints alone. */
  readonly idOnly?: string;
  /** Fields that the command line does not have. */
  readonly notOnCommandLine?: readonly (keyof z.output<Input> & string)[];
  /** Fields that the MCP tool does not have. */
  readonly notInTool?: readonly (keyof z.output<Input> & string)[];
  /** Fields that the MCP tool has in profile workspace-full only: core stays small and cannot do harm. */
  readonly fullOnly?: readonly (keyof z.output<Input> & string)[];
  /** Fields that the MCP tool has only where the user let the server's machines reach anything. */
  readonly withNetwork?: readonly (keyof z.output<Input> & string)[];
  /** Fields that the MCP tool has only where the user let those machines publish ports. */
  readonly withPublishing?: readonly (keyof z.output<Input> & string)[];
  /** Fields of which no error quotes anything. */
  readonly neverShown?: readonly (keyof z.output<Input> & string)[];
  /** Optional fields that the MCP tool cannot do without: the command line has another way to give them. */
  readonly neededInTool?: readonly (keyof z.output<Input> & string)[];
  readonly examples: readonly Example[];
}

/** What goes on, while an operation runs. */
interface OperationProgress {
  readonly message: string;
  /** 0 to 1, or null where it is not known. */
  readonly fraction: number | null;
}

export interface OperationContext {
  readonly pyro: Pyro;
  readonly signal?: AbortSignal | undefined;
  /**
   * A path of the host as an absolute one, if this face may touch it.
   * @throws {PyroError} HOST_PATH_NOT_ALLOWED
   */
  readonly hostPath: (path: string) => Promise<string>;
  /** A small file of the host, whole; "-" is standard input where there is one. */
  readonly readHostFile: (path: string) => Promise<Uint8Array>;
  readonly onProgress?: ((progress: OperationProgress) => void) | undefined;
  /** What runs meanwhile prints, and lines of ours about it. */
  readonly onOutput?: ((data: Uint8Array) => void) | undefined;
  /** What a new workspace begins with where nothing is named; default: nothing. */
  readonly defaultSource?: WorkspaceSource | undefined;
  /** What every machine that this face makes may reach, by its user's word; default: what the call says, else nothing. */
  readonly network?: NetworkOptions | undefined;
  /** How long this face waits for what goes on, in milliseconds; default until it is done. */
  readonly waitMs?: number | undefined;
}

/** An operation whose result is one record, the same on every face. */
export interface Operation<
  Input extends z.ZodObject = z.ZodObject,
  Output = unknown,
> extends Declaration<Input> {
  readonly output: z.ZodType<Output>;
  run(input: z.output<Input>, context: OperationContext): Promise<Output>;
  /** The record for people: lines, without a final newline. */
  render(output: Output): string;
  /** Exit status of the command for this result; default 0. */
  exitCode?(output: Output): number;
}

/** Gives an operation its types. */
export function defineOperation<Input extends z.ZodObject, Output>(
  operation: Operation<Input, Output>,
): Operation<Input, Output> {
  return operation;
}

/** Declares what one face does in a way of its own, such as streaming. */
export function declare<Input extends z.ZodObject>(declaration: Declaration<Input>): Declaration<Input> {
  return declaration;
}

/** Whether a declaration is an operation with a result. */
export function isOperation(declaration: Declaration): declaration is Operation {
  return "run" in declaration;
}
