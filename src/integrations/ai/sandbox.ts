import { constants } from "node:os";
import { posix } from "node:path";
import { PyroError } from "../../protocol/index.js";
import type { ExecWorkspaceOptions, Pyro } from "../../sdk/index.js";
import { commandEvents, exitStatus, runCommand } from "../shared/command.js";
import { fileWindows, nullIfMissing, wholeFile } from "../shared/whole-file.js";

type Kind = "file" | "directory" | "other";

interface ProcessOptions {
  readonly command: string;
  readonly workingDirectory?: string;
  readonly env?: Record<string, string>;
  readonly abortSignal?: AbortSignal;
}

interface PathOptions {
  readonly path: string;
  readonly abortSignal?: AbortSignal;
}

type WriteOptions<Content> = PathOptions & { readonly content: Content };

/** A command that goes on. */
export interface SandboxProcess {
  readonly stdout: ReadableStream<Uint8Array>;
  readonly stderr: ReadableStream<Uint8Array>;
  wait(): Promise<{ exitCode: number }>;
  kill(): Promise<void>;
}

type Writable = SandboxProcess & { readonly stdin: WritableStream<Uint8Array> };

/** The AI SDK's `Experimental_SandboxSession`. */
export interface SandboxSession {
  readonly description: string;
  readonly run: (options: ProcessOptions) => Promise<{ exitCode: number; stdout: string; stderr: string }>;
  readonly spawn: {
    (options: ProcessOptions & { stdin: true }): Promise<Writable>;
    (options: ProcessOptions & { stdin?: false }): Promise<SandboxProcess>;
    (options: ProcessOptions & { stdin?: boolean }): Promise<SandboxProcess | Writable>;
  };
  readonly readFile: (options: PathOptions) => Promise<ReadableStream<Uint8Array> | null>;
  readonly readBinaryFile: (options: PathOptions) => Promise<Uint8Array | null>;
  readonly readTextFile: (
    options: PathOptions & { encoding?: string; startLine?: number; endLine?: number },
  ) => Promise<string | null>;
  readonly writeFile: (options: WriteOptions<ReadableStream<Uint8Array>>) => Promise<void>;
  readonly writeBinaryFile: (options: WriteOptions<Uint8Array>) => Promise<void>;
  readonly writeTextFile: (options: WriteOptions<string> & { encoding?: string }) => Promise<void>;
  readonly stat: (options: PathOptions) => Promise<{ type: Kind; size: number } | null>;
  readonly listDirectory: (
    options: PathOptions,
  ) => Promise<{ name: string; type: Kind | "symlink" }[] | null>;
  readonly deleteFile: (options: PathOptions) => Promise<boolean>;
}

/**
 * A workspace as the AI SDK's sandbox session (`experimental_sandbox`). Relative paths lie under /workspace; of each
 * stream of `run` the head and the tail of 1 MiB are kept. The workspace stays its maker's, who deletes it.
 * @param workspaceId id, unique prefix of an id, or unique name
 */
export function sandboxSession(pyro: Pyro, workspaceId: string): SandboxSession {
  const command = ({ command, workingDirectory, env }: ProcessOptions) => ({
    ...{ workspaceId, command, env },
    cwd: workingDirectory,
  });
  const write = async ({ path, abortSignal }: PathOptions, content: string | Uint8Array): Promise<void> => {
    await pyro.writeWorkspaceFile({ workspaceId, path, content }, { signal: abortSignal });
  };
  const bytes = ({ path, abortSignal }: PathOptions) =>
    nullIfMissing(wholeFile(pyro, workspaceId, path, abortSignal));
  /** Runs a script of the shell with the path as its first argument. */
  const script = (text: string, { path, abortSignal }: PathOptions) =>
    runCommand(pyro, { workspaceId, argv: ["sh", "-c", text, "sh", path] }, { signal: abortSignal });
  const stat: SandboxSession["stat"] = async (options) => {
    const { exitCode, stdout, stderr } = await script(
      `[ -e "$1" ] || exit 44; stat -L -c '%s %F' -- "$1"`,
      options,
    );
    if (exitCode === 44) return null;
    if (exitCode !== 0) throw refused(options.path, stderr);
    const [size = "", ...kind] = stdout.trim().split(" ");
    return { size: Number(size), type: kindOf(kind.join(" ")) };
  };
  return {
    description:
      "A Linux virtual machine of its own. Relative paths lie under /workspace, where commands start. What it may reach of the network is its maker's choice; the default is nothing.",
    run: async (options) => {
      const result = await runCommand(pyro, command(options), { signal: options.abortSignal });
      return { exitCode: exitStatus(result), stdout: result.stdout, stderr: result.stderr };
    },
    spawn: ((options: ProcessOptions & { stdin?: boolean }) =>
      Promise.resolve(spawned(pyro, command(options), options))) as SandboxSession["spawn"],
    readFile: async ({ path, abortSignal }) => {
      const windows = fileWindows(pyro, workspaceId, path, abortSignal);
      // The first window tells whether it is there.
      const first = await nullIfMissing(windows.next());
      return first === null ? null : ReadableStream.from(from(first, windows));
    },
    readBinaryFile: bytes,
    readTextFile: async ({ encoding = "utf-8", startLine, endLine, ...options }) => {
      const content = await bytes(options);
      if (content === null) return null;
      return lines(new TextDecoder(encoding).decode(content), startLine, endLine);
    },
    writeFile: async ({ content, ...options }) => {
      await write(options, new Uint8Array(await new Response(content).arrayBuffer()));
    },
    writeBinaryFile: ({ content, ...options }) => write(options, content),
    writeTextFile: ({ content, encoding = "utf-8", ...options }) =>
      write(options, Buffer.from(content, encoding as BufferEncoding)),
    stat,
    listDirectory: async (options) => {
      const found = await stat(options);
      if (found === null) return null;
      if (found.type !== "directory") throw refused(options.path, "it is no directory");
      const { entries, truncated } = await pyro.listWorkspaceFiles(
        { workspaceId, path: options.path },
        { signal: options.abortSignal },
      );
      if (truncated) throw refused(options.path, "it has more entries than one list gives");
      return entries.map(({ path, artifactType }) => ({ name: posix.basename(path), type: artifactType }));
    },
    deleteFile: async (options) => {
      const { exitCode, stderr } = await script('[ -e "$1" ] || [ -L "$1" ] || exit 44; rm -- "$1"', options);
      if (exitCode !== 0 && exitCode !== 44) throw refused(options.path, stderr);
      return exitCode === 0;
    },
  };
}

/** Starts a command that goes on; what it writes and nobody reads is kept in this process. */
function spawned(
  pyro: Pyro,
  command: ExecWorkspaceOptions,
  { stdin = false, abortSignal }: { readonly stdin?: boolean; readonly abortSignal?: AbortSignal },
): SandboxProcess | Writable {
  const killed = new AbortController();
  const signal = AbortSignal.any([killed.signal, ...(abortSignal === undefined ? [] : [abortSignal])]);
  const input = stdin ? new TransformStream<Uint8Array, Uint8Array>() : undefined;
  const stdout = opened();
  const stderr = opened();
  const pump = async (): Promise<{ exitCode: number }> => {
    for await (const event of commandEvents(pyro, { ...command, stdin: input?.readable }, signal)) {
      if (event.type === "stdout") stdout.put(event.data);
      else if (event.type === "stderr") stderr.put(event.data);
      else if (event.type === "result") return { exitCode: exitStatus(event.result) };
    }
    throw new PyroError("INTERNAL", "the command ended without a result");
  };
  const exit = pump()
    .catch((error: unknown) => {
      if (error === killed.signal.reason) return { exitCode: 128 + constants.signals.SIGKILL };
      throw error;
    })
    .finally(() => {
      stdout.close();
      stderr.close();
    });
  // Told to whoever waits; nobody has to.
  exit.catch(() => undefined);
  return {
    ...{ stdout: stdout.stream, stderr: stderr.stream, wait: () => exit },
    kill: async () => {
      killed.abort();
      await exit.catch(() => undefined);
    },
    ...(input === undefined ? {} : { stdin: input.writable }),
  };
}

/** A stream that is written to from outside. */
function opened() {
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  const stream = new ReadableStream<Uint8Array>({
    start: (own) => {
      controller = own;
    },
    cancel: () => {
      controller = undefined;
    },
  });
  return { stream, put: (data: Uint8Array) => controller?.enqueue(data), close: () => controller?.close() };
}

async function* from(
  first: IteratorResult<Uint8Array, unknown>,
  rest: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  if (first.done !== true) yield first.value;
  yield* rest;
}

/** Lines by their numbers from 1 on, the last one included, with the line ends that the text has. */
function lines(text: string, start = 1, end = Infinity): string {
  if (start === 1 && end === Infinity) return text;
  const lineEnd = text.includes("\r\n") ? "\r\n" : "\n";
  return text
    .split(lineEnd)
    .slice(Math.max(1, start) - 1, end)
    .join(lineEnd);
}

/** What `stat` calls it. */
function kindOf(name: string): Kind {
  if (name === "directory") return "directory";
  return name.startsWith("regular") ? "file" : "other";
}

function refused(path: string, why: string): PyroError {
  return new PyroError("GUEST_FILE_REFUSED", `${path}: ${why.trim()}`);
}
