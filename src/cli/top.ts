import type { Readable } from "node:stream";
import { topRows, topSummary, toTopView, workspaceTop } from "../operations/workspace/top.js";
import { Pyro, type WorkspacesUsage } from "../sdk/index.js";
import { sleep } from "../kit/index.js";
import type { CommandContext } from "./context.js";
import { reportFailure } from "./failure.js";
import type { TerminalWritable } from "./host.js";
import { interrupts } from "./interrupts.js";
import { operationCommand } from "./operation.js";
import { screenOf } from "./top-screen.js";

const REDRAW_MS = 1_000;
/** The first rates come sooner: until then there are none. */
const FIRST_MS = 300;

const ALTERNATE_SCREEN = "\u001b[?1049h\u001b[?25l";
const USUAL_SCREEN = "\u001b[?25h\u001b[?1049l";

/** `pyro workspace top`: redraws on a terminal until it is left; once everywhere else. */
export async function workspaceTopCommand(
  input: Record<string, unknown>,
  context: CommandContext,
): Promise<number> {
  const { host, json } = context;
  if (json || input["once"] === true || host.stdout.isTTY !== true)
    return await operationCommand(workspaceTop, input, context);
  return await watch(context);
}

async function watch(context: CommandContext): Promise<number> {
  const { host, stdout, stderr, json } = context;
  using interrupt = interrupts(host);
  await using pyro = new Pyro(context.pyroOptions);
  const keys = new Keys(host.openStdin());
  const signal = AbortSignal.any([interrupt.signal, keys.left]);
  let failure: unknown;
  await stdout.write(ALTERNATE_SCREEN);
  try {
    await redraw(pyro, host.stdout, (screen) => stdout.write(screen), signal);
  } catch (error) {
    if (!signal.aborted) failure = error;
  } finally {
    keys[Symbol.dispose]();
    // Also after a failure: it is told on the screen that the user had.
    await stdout.write(USUAL_SCREEN);
  }
  if (failure !== undefined)
    return await reportFailure(failure, { stdout, stderr }, { json, statuses: "plain" });
  return keys.left.aborted ? 0 : (interrupt.status() ?? 0);
}

async function redraw(
  pyro: Pyro,
  terminal: TerminalWritable,
  write: (screen: string) => Promise<void>,
  signal: AbortSignal,
): Promise<never> {
  let before: WorkspacesUsage | undefined;
  for (;;) {
    const now = await pyro.topWorkspaces({ signal });
    const view = toTopView(before, now);
    const { columns = 80, rows = 24 } = terminal;
    await write(screenOf([topSummary(view), "", ...topRows(view)], { columns, rows }));
    await sleep(before === undefined ? FIRST_MS : REDRAW_MS, signal);
    before = now;
  }
}

/** What a terminal's input has, and other streams do not. */
interface RawReadable extends Readable {
  setRawMode?: (raw: boolean) => unknown;
}

const LEAVING = /[qQ\u0003\u0004]/;

/** The keys of a terminal, one by one; q, Ctrl-C and Ctrl-D leave. */
class Keys implements Disposable {
  readonly #controller = new AbortController();
  readonly #input: RawReadable | undefined;

  constructor(input: Readable | undefined) {
    this.#input = input;
    if (input === undefined) return;
    this.#input?.setRawMode?.(true);
    input.on("data", this.#take);
  }

  get left(): AbortSignal {
    return this.#controller.signal;
  }

  readonly #take = (data: Uint8Array): void => {
    if (LEAVING.test(Buffer.from(data).toString("latin1"))) this.#controller.abort();
  };

  [Symbol.dispose](): void {
    this.#input?.off("data", this.#take);
    this.#input?.setRawMode?.(false);
    this.#input?.pause();
  }
}
