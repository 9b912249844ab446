import type { MessageInitShape } from "@bufbuild/protobuf";
import { sleep } from "../kit/index.js";
import type { ErrorCode, PyroError } from "../protocol/index.js";
import type {
  AttachShellRequestSchema,
  AttachShellResponse,
} from "../protocol/gen/pyro/daemon/v1/shell_pb.js";
import { wireError, type CallOptions } from "./call.js";
import type { DaemonClient } from "./daemon-client.js";
import { Outbox } from "./outbox.js";
import { toShellRecord, type ShellRecord } from "./shell-record.js";

export interface AttachShellOptions {
  readonly workspaceId: string;
  readonly shellId: string;
  /** The size of the caller's terminal, which the shell takes; left out, it keeps its own. */
  readonly cols?: number | undefined;
  readonly rows?: number | undefined;
}

/** What comes of a shell; `attached` first, `ended` last. */
export type ShellEvent =
  | { readonly type: "attached"; readonly shell: ShellRecord }
  /** For a terminal: the picture, then what comes. */
  | { readonly type: "output"; readonly data: Uint8Array }
  /** The daemon was lost; the next one is asked for what comes. Keys on their way may be lost. */
  | { readonly type: "reconnecting"; readonly error: PyroError }
  | { readonly type: "ended"; readonly shell: ShellRecord };

/** A terminal on a shell. Leaving the iteration detaches it; the shell goes on. */
export interface ShellAttachment extends AsyncIterable<ShellEvent> {
  /** Resolves when there is room for more. */
  write(data: Uint8Array): Promise<void>;
  resize(size: { readonly cols: number; readonly rows: number }): Promise<void>;
  /** Ends the iteration once the shell has what was written before. */
  detach(): void;
}

/** Daemons in a row that are lost before they bring anything new. */
const FRUITLESS_MAX = 5;
/** Before the next try; twice as long each time. */
const FIRST_PAUSE_MS = 50;
const LOST: readonly ErrorCode[] = ["DAEMON_UNREACHABLE", "DAEMON_STOPPING"];

type Request = MessageInitShape<typeof AttachShellRequestSchema>;

/** A terminal that is carried from daemon to daemon: each byte comes once. */
export function attachStream(
  client: DaemonClient,
  { workspaceId, shellId, cols = 0, rows = 0 }: AttachShellOptions,
  call: CallOptions,
): ShellAttachment {
  let requests: Outbox<Request> | undefined;
  let size = { cols, rows };
  let cursor: bigint | undefined;
  const open = (): AsyncIterable<AttachShellResponse> =>
    client.stream("shell", "the shell", call, async function* (shell, { signal }) {
      const outbox = new Outbox<Request>();
      requests = outbox;
      const from = cursor === undefined ? {} : { cursor };
      void outbox.put({
        request: { case: "start", value: { workspace: workspaceId, shell: shellId, ...size, ...from } },
      });
      try {
        yield* shell.attachShell(outbox, { signal });
      } finally {
        outbox.end();
      }
    });
  async function* events(): AsyncGenerator<ShellEvent> {
    for (let fruitless = 0; ; fruitless++) {
      try {
        for await (const { event } of open()) {
          fruitless = 0;
          if (event.case === "attached" && cursor === undefined)
            yield { type: "attached", shell: toShellRecord(event.value) };
          if (event.case === "output") {
            cursor = event.value.nextCursor;
            yield { type: "output", data: event.value.data };
          }
          if (event.case === "ended") yield { type: "ended", shell: toShellRecord(event.value) };
        }
        return;
      } catch (thrown) {
        const error = wireError(thrown);
        if (!LOST.includes(error.code) || cursor === undefined || fruitless >= FRUITLESS_MAX) throw error;
        yield { type: "reconnecting", error };
        await sleep(FIRST_PAUSE_MS * 2 ** fruitless, call.signal);
      }
    }
  }
  return {
    write: async (data) => await requests?.put({ request: { case: "input", value: data } }),
    resize: async (next) => {
      size = { ...next };
      await requests?.put({ request: { case: "resize", value: size } });
    },
    detach: () => requests?.end(),
    [Symbol.asyncIterator]: () => events(),
  };
}
