import {
  BuilderService,
  OutputStream,
  ProcessService,
  SystemService,
} from "../../src/protocol/gen/pyro/guest/v1/guest_pb.js";
import { PyroError } from "../../src/protocol/index.js";
import type { GuestRouter } from "./fake-callee.js";
import type { FakeGuestScript, FakeSession } from "./fake-guest.js";

/** What the host asked of a fake agent. */
export class AgentRecord {
  readonly calls: string[] = [];
  readonly input: Buffer[] = [];
  /** False: a guest whose writes went on while its baseline was sealed. */
  holdsWrites = true;
  /** Commands by their ids, whoever is connected. */
  readonly commands = new Map<string, FakeAgentCommand>();
}

interface FakeAgentCommand {
  readonly argv: string[];
  readonly signal: (name: string) => void;
  readonly signalled: Promise<string>;
}

/**
 * An agent that boots, mounts and runs a few commands without a kernel: `echo WORDS`, `cat` (its input), `sleep` (for
 * ever, until a signal), `crash` (the machine's port breaks), `fail` (exit 3).
 */
export function fakeAgent(record: AgentRecord, onCrash: () => void = () => undefined): FakeGuestScript {
  return { routes: (router, session) => routes(router, session, record, onCrash) };
}

function routes(router: GuestRouter, session: FakeSession, record: AgentRecord, onCrash: () => void): void {
  const { commands } = record;
  let inputEnded: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => (inputEnded = resolve));
  router.service(SystemService, {
    hello: () => ({ agentVersion: "fake", epoch: session.epoch, kernelRelease: "6.1.0-fake" }),
    ping: () => ({}),
    holdWrites: ({ hold }) => {
      record.calls.push(hold ? "hold writes" : "let writes go");
      return { wasHeld: !hold && record.holdsWrites };
    },
    mountRoot: ({ device, identity, workspaceUser }) => {
      if (identity !== undefined) record.calls.push(`personalize ${identity.hostname.slice(0, 5)}`);
      record.calls.push(`mount ${device}${workspaceUser === "" ? "" : ` for ${workspaceUser}`}`);
      return {};
    },
    personalize: ({ hostname }) => {
      record.calls.push(hostname === "" ? "clock" : `personalize ${hostname.slice(0, 5)}`);
      return {};
    },
    rehearse: () => {
      record.calls.push("rehearse");
      return {};
    },
    shutdown: () => {
      record.calls.push("shutdown");
      return {};
    },
  });
  router.service(ProcessService, {
    start: ({ processId, argv, user, cwd }) => {
      if (user !== "") record.calls.push(`start as ${user} in ${Buffer.from(cwd).toString()}`);
      let signal: (name: string) => void = () => undefined;
      const signalled = new Promise<string>((resolve) => (signal = resolve));
      commands.set(processId, { argv: argv.map((word) => Buffer.from(word).toString()), signal, signalled });
      return { pid: 42 };
    },
    get: ({ processId }) => {
      if (!commands.has(processId))
        throw new PyroError("PROCESS_NOT_FOUND", `there is no process ${processId}`);
      return { process: { processId, pid: 42 } };
    },
    signal: ({ processId, signal }) => {
      commands.get(processId)?.signal(signal);
      return {};
    },
    writeInput: async (messages) => {
      let accepted = 0;
      for await (const { data } of messages) {
        record.input.push(Buffer.from(data));
        accepted += data.length;
      }
      inputEnded();
      return { acceptedBytes: BigInt(accepted) };
    },
    readOutput: async function* ({ processId }) {
      const command = commands.get(processId);
      const [program, ...words] = command?.argv ?? [];
      let text = "";
      let signal = "";
      if (program === "echo") text = `${words.join(" ")}\n`;
      else if (program === "sleep") signal = (await command?.signalled) ?? "";
      else if (program === "crash") {
        onCrash();
        await new Promise(() => undefined);
      } else if (program === "cat") {
        await ended;
        text = Buffer.concat(record.input).toString();
      }
      const data = Buffer.from(text);
      if (data.length > 0) {
        yield { event: { case: "chunk", value: { stream: OutputStream.STDOUT, offset: 0n, data } } };
      }
      const code = program === "fail" ? 3 : 0;
      yield { event: { case: "exit", value: { code, signal, stdoutBytes: BigInt(data.length) } } };
    },
    remove: () => ({}),
  });
  router.service(BuilderService, {
    buildImage: async function* ({ layers, targetDevice, steps }) {
      record.calls.push(`build ${layers.map(({ device }) => device).join(" ")} onto ${targetDevice}`);
      yield { event: { case: "progress", value: { phase: "unpack", bytesDone: 1n, bytesTotal: 2n } } };
      yield {
        event: { case: "output", value: Buffer.from(steps.map(({ argv }) => argv.join(" ")).join("\n")) },
      };
      yield { event: { case: "result", value: { entryCount: 7n, usedBytes: 8n } } };
    },
  });
}
