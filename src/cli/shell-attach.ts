import { shellAttach, shellState } from "../operations/workspace/shells.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import { Pyro, type ShellAttachment, type ShellRecord } from "../sdk/index.js";
import type { CommandContext } from "./context.js";
import { reportFailure, UsageError } from "./failure.js";
import type { LocalTerminal } from "./host.js";
import { interrupts } from "./interrupts.js";
import { proven } from "./proven.js";
import { TerminalModes } from "./terminal-modes.js";

/** `pyro workspace shell attach`: this terminal becomes the shell's, until a key detaches it or the shell ends. */
export async function shellAttachCommand(
  input: Record<string, unknown>,
  context: CommandContext,
): Promise<number> {
  const { host, stdout, stderr, json } = context;
  const given = proven(shellAttach, input);
  if (json) throw new UsageError("an attached terminal is no JSON document", "`shell read --json` gives one");
  const terminal = host.openTerminal();
  if (terminal === undefined) {
    throw new UsageError(
      "standard input and output are not a terminal in the foreground",
      "without one use `pyro workspace shell read` and `shell write`",
    );
  }
  const { workspace_id: workspaceId, shell_id: shellId, detach_key: detachKey } = given;
  const modes = new TerminalModes();
  const detached = new AbortController();
  using interrupt = interrupts(host);
  await using pyro = new Pyro(context.pyroOptions);
  const signal = AbortSignal.any([interrupt.signal, detached.signal]);
  const shells = pyro.attachShell({ workspaceId, shellId, ...sizeOf(terminal) }, { signal });
  const says = `pyro workspace shell attach ${workspaceId} ${shellId}`;
  let ended: ShellRecord | undefined;
  let wiring: Disposable | undefined;
  try {
    for await (const event of shells) {
      if (event.type === "attached") {
        await stderr.say(`pyro: attached to shell ${event.shell.shellId}${keyWords(detachKey)}`);
        wiring = wire(terminal, shells, keyByte(detachKey), () => {
          shells.detach();
          // A daemon that does not answer keeps nobody.
          setTimeout(() => detached.abort(leaving()), DETACH_MS).unref();
        });
        // What stands on the terminal is scrolled away, not painted over.
        await stdout.write("\r\n".repeat(terminal.size().rows));
      } else if (event.type === "output") {
        modes.saw(event.data);
        await stdout.write(event.data);
      } else if (event.type === "ended") ended = event.shell;
    }
  } catch (error) {
    if (!detached.signal.aborted || interrupt.status() !== undefined) {
      await restore(terminal, wiring, modes, context);
      const status = await reportFailure(error, { stdout, stderr }, { json, statuses: "plain" });
      return interrupt.status() ?? status;
    }
  }
  await restore(terminal, wiring, modes, context);
  if (ended === undefined) await stderr.say(`pyro: detached; the shell goes on: \`${says}\``);
  else
    await stderr.say(
      `pyro: the shell has ended: ${shellState({ state: ended.state, exit_code: ended.exitCode, signal: ended.signal })}`,
    );
  return 0;
}

/** How long the last keys may take to the shell. */
const DETACH_MS = 1_000;

function leaving(): PyroError {
  return new PyroError("CANCELLED", "detached");
}

/** Keys and sizes of the terminal go to the shell, until the result is disposed of. */
function wire(
  terminal: LocalTerminal,
  shell: ShellAttachment,
  detachByte: number | undefined,
  detach: () => void,
): Disposable {
  const { input } = terminal;
  const onData = (data: Buffer): void => {
    const at = detachByte === undefined ? -1 : data.indexOf(detachByte);
    const keys = at < 0 ? data : data.subarray(0, at);
    // What follows waits until these are on their way.
    input.pause();
    void (async () => {
      if (keys.length > 0) await shell.write(keys);
      if (at >= 0) detach();
      else input.resume();
    })();
  };
  terminal.setRaw(true);
  input.on("data", onData);
  input.once("end", detach);
  const resized = terminal.onResize(() => void shell.resize(sizeOf(terminal)));
  return {
    [Symbol.dispose]: () => {
      resized[Symbol.dispose]();
      input.off("data", onData);
      input.off("end", detach);
      input.pause();
    },
  };
}

/** However it ends, the terminal is as it was: also for the program that comes next. */
async function restore(
  terminal: LocalTerminal,
  wiring: Disposable | undefined,
  modes: TerminalModes,
  { stdout }: CommandContext,
): Promise<void> {
  if (wiring === undefined) return;
  wiring[Symbol.dispose]();
  terminal.setRaw(false);
  await stdout.write(modes.reset()).catch(() => undefined);
}

function sizeOf(terminal: LocalTerminal): { cols: number; rows: number } {
  const { cols, rows } = terminal.size();
  return { cols: Math.min(cols, LIMITS.shellColsMax), rows: Math.min(rows, LIMITS.shellRowsMax) };
}

/** "ctrl-]" as the byte that the key sends. */
function keyByte(name: string): number | undefined {
  const key = /^ctrl-(.)$/i.exec(name)?.[1]?.toUpperCase();
  return key === undefined ? undefined : key.charCodeAt(0) & 0x1f;
}

function keyWords(name: string): string {
  const key = /^ctrl-(.)$/i.exec(name)?.[1];
  return key === undefined ? "; no key detaches" : `; Ctrl-${key.toUpperCase()} detaches`;
}
