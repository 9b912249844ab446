/** An agent whose processes do what a script says, for the tests of the agent's client. */
import { create } from "@bufbuild/protobuf";
import { expect } from "vitest";
import {
  connectGuest,
  type GuestConnection,
  type GuestProcess,
  type OutputPiece,
  type ProcessSpec,
} from "../../src/guest/index.js";
import type { PyroError } from "../../src/protocol/index.js";
import {
  OutputStream,
  ProcessService,
  ReadOutputRequestSchema,
  type ReadOutputRequest,
  type StartRequest,
} from "../../src/protocol/gen/pyro/guest/v1/guest_pb.js";
import { FakeGuest } from "./fake-guest.js";

export type Reply = {
  event: { case: "chunk"; value: object } | { case: "exit"; value: object } | { case: undefined };
};
export type ReadOutput = (request: ReadOutputRequest, call: number) => AsyncGenerator<Reply> | Reply[];
export interface ProcessScript {
  /** Whether the agent starts and reads in one exchange; by default it is an older one. */
  readonly runs?: boolean;
  readonly readOutput?: ReadOutput;
  readonly writeInput?: (
    data: AsyncIterable<{ data: Uint8Array; end: boolean; processId: string }>,
  ) => Promise<object>;
  readonly start?: (request: StartRequest) => object;
}

export const spec: ProcessSpec = { processId: "p1", argv: ["/bin/true"], env: ["A=B=C"] };
export const chunk = (text: string, offset: number, stream = OutputStream.STDOUT): Reply => ({
  event: { case: "chunk", value: { stream, offset: BigInt(offset), data: Buffer.from(text) } },
});
export const exit = (value: object = {}): Reply => ({ event: { case: "exit", value } });
export const code = (expected: string) => expect.objectContaining({ code: expected }) as PyroError;

export async function withGuest(
  script: ProcessScript,
  use: (guest: FakeGuest, connection: GuestConnection) => Promise<void>,
): Promise<void> {
  const { runs = false } = script;
  let calls = 0;
  await using guest = await FakeGuest.start({
    capabilities: runs ? ["run"] : [],
    routes: (router) =>
      router.service(ProcessService, {
        start: (request) => script.start?.(request) ?? { pid: 42 },
        run: async function* (request) {
          if (!runs) throw new Error("no such method");
          yield { event: { case: "started", value: script.start?.(request) ?? { pid: 42 } } };
          calls += 1;
          const from = create(ReadOutputRequestSchema, { processId: request.processId });
          yield* (script.readOutput?.(from, calls) ?? [exit()]) as AsyncGenerator<Reply>;
        },
        readOutput: async function* (request) {
          calls += 1;
          yield* (script.readOutput?.(request, calls) ?? [exit()]) as AsyncGenerator<Reply>;
        },
        writeInput: async (messages) => (await script.writeInput?.(messages)) ?? {},
        signal: () => ({}),
        remove: () => ({}),
      }),
  });
  await using connection = await connectGuest(guest.path, { timeoutMs: 5_000 });
  await use(guest, connection);
}

export async function read(process: GuestProcess): Promise<OutputPiece[]> {
  const pieces: OutputPiece[] = [];
  for await (const piece of process.output) pieces.push(piece);
  return pieces;
}

export const text = (pieces: readonly OutputPiece[]): string =>
  pieces.map(({ data }) => Buffer.from(data).toString()).join("");
