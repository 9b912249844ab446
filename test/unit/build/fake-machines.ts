import { appendFile, readFile, writeFile } from "node:fs/promises";
import { basename } from "node:path";
import type { StepMachines } from "../../../src/build/index.js";
import type { PyroError } from "../../../src/protocol/index.js";

/** Machines that write down what they are asked to do: a target holds what is below it, and then what was done. */
export interface FakeStepMachines extends StepMachines {
  /** What was done in all of them, in order. */
  readonly done: string[];
  /** Machines that are open now. */
  readonly openMachines: Set<object>;
  /** Called before each command; may throw, wait, or give another exit. */
  onRun: (line: string, signal: AbortSignal, lose: (why: PyroError) => void) => Promise<number>;
}

export function fakeStepMachines(): FakeStepMachines {
  const done: string[] = [];
  const open = new Set<object>();
  const fake: FakeStepMachines = {
    done,
    openMachines: open,
    onRun: () => Promise.resolve(0),
    open: async ({ image, below, target, network }, signal) => {
      signal.throwIfAborted();
      const under = below.at(-1) ?? image.path;
      await writeFile(target, `${await readFile(under, "utf8")}\n`, { flag: "wx" });
      const self = {};
      open.add(self);
      let lose: (why: PyroError) => void = () => undefined;
      const lost = new Promise<PyroError>((resolve) => (lose = resolve));
      const note = async (what: string): Promise<void> => {
        done.push(what);
        await appendFile(target, `${what}\n`);
      };
      return {
        lost,
        refusal: undefined,
        run: async ({ argv, cwd, user, env }, onOutput) => {
          const line = argv.at(-1) ?? "";
          const exitCode = await fake.onRun(line, signal, lose);
          await onOutput({ stream: "stdout", data: Buffer.from(`output of ${line}\n`) });
          await note(
            `run ${line} as ${user === "" ? "root" : user} in ${cwd} with ${env.join(" ")} network ${network.mode}`,
          );
          const counts = { durationUs: 1, stdoutBytes: 1, stderrBytes: 0 };
          return { exitCode, timedOut: false, outOfMemory: false, ...counts };
        },
        isDirectory: (path) => Promise.resolve(path === "/" || path === "/there"),
        extract: async (directory, tar) => {
          const chunks: Uint8Array[] = [];
          for await (const chunk of tar) chunks.push(chunk);
          const all = Buffer.concat(chunks);
          // An extended header with its body stands before the entry.
          const at = all.toString("latin1", 0, 4) === "././" ? 1024 : 0;
          const name = all.toString("latin1", at, at + 100).replace(/\0.*$/s, "");
          await note(`extract ${name === "" ? "nothing" : name} into ${directory}`);
        },
        finish: async () => await note(`finish ${basename(target)}`),
        [Symbol.asyncDispose]: () => {
          open.delete(self);
          return Promise.resolve();
        },
      };
    },
  };
  return fake;
}
