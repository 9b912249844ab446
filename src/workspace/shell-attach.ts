import { LIMITS } from "../protocol/index.js";
import { explainEnd } from "./loss.js";
import type { ShellPiece } from "./machine-shells.js";
import type { Redactor } from "./secrets/index.js";
import { toOpened, type OpenedShell } from "./shells.js";
import type { Workspace } from "./workspace.js";
import type { WorkspaceMachine } from "./workspace-machine.js";

/** What an attached terminal is to show, and where it goes on. */
export type AttachedPiece =
  | { readonly kind: "output"; readonly data: Uint8Array; readonly nextCursor: number }
  | { readonly kind: "ended"; readonly shell: OpenedShell };

/** A person's terminal on a shell. It holds the workspace until it is disposed of. */
export interface Attachment extends Disposable {
  readonly shell: OpenedShell;
  /** The picture, then what comes; to be read once. */
  readonly output: AsyncIterable<AttachedPiece>;
  write(data: Uint8Array): Promise<void>;
  resize(cols: number, rows: number): Promise<void>;
}

export interface AttachRequest {
  /** 0: the shell keeps its size. */
  readonly cols: number;
  readonly rows: number;
  /** Goes on there, without a picture, where the bytes are still kept. */
  readonly cursor: number | undefined;
}

/**
 * Attaches a terminal: the shell takes its size, and whoever else uses the shell goes on as before.
 * @throws {PyroError} SHELL_NOT_FOUND, AMBIGUOUS_REFERENCE, INVALID_ARGUMENT
 */
export async function attachShell(
  workspace: Workspace,
  reference: string,
  { cols, rows, cursor }: AttachRequest,
  signal: AbortSignal,
): Promise<Attachment> {
  const { shells } = workspace;
  const found = await shells.locate(reference, signal);
  const { shellId, state } = found.shell;
  const sized = cols > 0 && rows > 0 && state === "running";
  const shell = sized ? await shells.resize(shellId, cols, rows, signal) : found.shell;
  const held = shells.attach();
  const activity = activityOf(workspace);
  return {
    shell,
    output: attached(workspace, found.machine, shell, cursor, signal),
    write: async (data) => {
      const taken = await found.machine.shells.write(shellId, data);
      // A program that reads nothing loses what is typed beyond what there is room for, as on any terminal.
      if (taken > 0) await activity();
    },
    resize: async (toCols, toRows) => {
      await shells.resize(shellId, toCols, toRows, signal);
    },
    [Symbol.dispose]: () => held[Symbol.dispose](),
  };
}

async function* attached(
  workspace: Workspace,
  machine: WorkspaceMachine,
  shell: OpenedShell,
  cursor: number | undefined,
  signal: AbortSignal,
): AsyncGenerator<AttachedPiece> {
  try {
    let at = cursor;
    if (at === undefined || at < shell.firstByte) {
      const picture = await pictureOf(workspace, machine, shell.shellId, signal);
      at = picture.nextCursor;
      yield { kind: "output", ...picture };
    }
    for await (const piece of workspace.shells.bytes(machine, shell.shellId, {
      ...{ offset: at, follow: true, signal },
    }))
      yield* toAttached(piece, workspace.secrets.redactor);
  } catch (error) {
    throw await explainEnd(error, machine, workspace);
  }
}

/** The screen is let go of before it is sent: a slow terminal must not hold it. */
async function pictureOf(
  workspace: Workspace,
  machine: WorkspaceMachine,
  shellId: string,
  signal: AbortSignal,
): Promise<{ readonly data: Uint8Array; readonly nextCursor: number }> {
  using screen = (await workspace.shells.drawn(machine, shellId, 0, { signal })).screen;
  return {
    data: workspace.secrets.redactor.mask(Buffer.from(screen.value.picture())),
    nextCursor: screen.value.end,
  };
}

function* toAttached(piece: ShellPiece, redactor: Redactor): Generator<AttachedPiece> {
  if (piece.kind === "data") {
    yield { kind: "output", data: piece.data, nextCursor: piece.offset + piece.data.length };
  } else if (piece.kind === "end") yield { kind: "ended", shell: toOpened(piece.shell, redactor) };
}

/** Each key would write the record otherwise. */
function activityOf(workspace: Workspace): () => Promise<void> {
  let last = 0;
  return async () => {
    const now = performance.now();
    if (last !== 0 && now - last < LIMITS.shellActivityMs) return;
    last = now;
    await workspace.touch();
  };
}
