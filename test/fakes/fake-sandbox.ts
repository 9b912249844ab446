import type { PyroError } from "../../src/protocol/index.js";
import type {
  CommandExit,
  CommandSpec,
  EnvironmentConfig,
  OutputChunk,
  RunningCommand,
  Sandbox,
  SandboxFactory,
  SandboxSpec,
} from "../../src/workspace/index.js";

/** What a fake machine does with a command: yields its output, and gives its end. */
export type Script = (command: FakeCommand) => AsyncGenerator<OutputChunk, Partial<CommandExit>>;

export class FakeCommand {
  readonly input: Uint8Array[] = [];
  inputEnded = false;
  readonly signals: string[] = [];
  constructor(readonly spec: CommandSpec) {}
}

/** Sandboxes without machines: counts what is open, and can refuse, hang or lose a machine on cue. */
export class FakeSandboxes implements SandboxFactory {
  readonly opened: SandboxSpec[] = [];
  openNow = 0;
  readonly commands: FakeCommand[] = [];
  /** Called before a sandbox opens; may throw or wait. */
  beforeOpen: (signal: AbortSignal) => Promise<void> = () => Promise.resolve();
  lose: (error: PyroError) => void = () => undefined;
  /** What the environment says. */
  config: EnvironmentConfig | undefined;

  constructor(private readonly script: Script) {}

  async open(
    ...[spec, { signal, onPhase, onEnvironment }]: Parameters<SandboxFactory["open"]>
  ): Promise<Sandbox> {
    onEnvironment?.(this.config);
    onPhase?.({ phase: "booting", message: "a fake boots" });
    await this.beforeOpen(signal);
    this.opened.push(spec);
    this.openNow += 1;
    const lost = new Promise<PyroError>((resolve) => (this.lose = resolve));
    let closed = false;
    return {
      isolation: "software",
      guestKernel: "6.1-fake",
      startupUs: 1234,
      ...(this.config === undefined ? {} : { config: this.config }),
      lost,
      start: (command) => Promise.resolve(this.#start(command)),
      [Symbol.asyncDispose]: () => {
        if (!closed) this.openNow -= 1;
        closed = true;
        return Promise.resolve();
      },
    };
  }

  #start(spec: CommandSpec): RunningCommand {
    const command = new FakeCommand(spec);
    this.commands.push(command);
    const chunks = this.script(command);
    let finish: (exit: CommandExit) => void = () => undefined;
    const exit = new Promise<CommandExit>((resolve) => (finish = resolve));
    async function* output(): AsyncGenerator<OutputChunk> {
      for (;;) {
        const next = await chunks.next();
        if (next.done === true) {
          finish({ ...CLEAN_EXIT, ...next.value });
          return;
        }
        yield next.value;
      }
    }
    return {
      output: output(),
      exit,
      writeInput: (data) => {
        command.input.push(data);
        return Promise.resolve(true);
      },
      endInput: () => {
        command.inputEnded = true;
        return Promise.resolve();
      },
      signal: (name) => {
        command.signals.push(name);
        return Promise.resolve();
      },
    };
  }
}

const CLEAN_EXIT: CommandExit = {
  exitCode: 0,
  timedOut: false,
  outOfMemory: false,
  durationUs: 42,
  stdoutBytes: 0,
  stderrBytes: 0,
};
