import { Code } from "@connectrpc/connect";
import { PyroError, fromWire } from "../protocol/index.js";
import type { Status } from "../protocol/gen/pyro/guest/v1/guest_pb.js";

/** The connection to the agent is gone: the epoch is over, the machine perhaps not. */
export function disconnected(cause?: unknown): PyroError {
  const detail = cause instanceof Error ? `: ${cause.message}` : "";
  return new PyroError("GUEST_DISCONNECTED", `the connection to the guest agent is gone${detail}`, {
    hint: "connect again; when that fails too, the virtual machine has ended or hangs: `pyro daemon logs`",
    retryable: true,
    cause,
  });
}

/** The agent said what no agent of ours says. */
export function protocolError(message: string, cause?: unknown): PyroError {
  return new PyroError("GUEST_PROTOCOL_ERROR", `the guest agent broke the protocol: ${message}`, {
    hint: "the virtual machine cannot be trusted any more; start a new one",
    cause,
  });
}

/** Text of the guest that goes into messages is hostile and may be long. */
const GUEST_TEXT_CHARACTERS = 2_000;

/** The caller left: its own PyroError where it gave one. */
export function cancelled(reason: unknown): PyroError {
  if (reason instanceof PyroError) return reason;
  return new PyroError("CANCELLED", "the call to the guest agent was cancelled", { cause: reason });
}

export function deadlineExceeded(): PyroError {
  return new PyroError("DEADLINE_EXCEEDED", "the guest agent did not answer in time", {
    hint: "the virtual machine may be busy: try again, or give it more vCPUs",
    retryable: true,
  });
}

/** What the agent ended a call with. What it tells the user (a detail) wins. */
export function statusError({ code, message, detail }: Status): PyroError {
  const text = message.slice(0, GUEST_TEXT_CHARACTERS);
  if (detail !== undefined) {
    return fromWire(detail.code.slice(0, 100), detail.message.slice(0, GUEST_TEXT_CHARACTERS), {
      hint: detail.hint.slice(0, GUEST_TEXT_CHARACTERS),
    });
  }
  if (is(code, Code.Canceled)) return cancelled(undefined);
  if (is(code, Code.DeadlineExceeded)) return deadlineExceeded();
  if (is(code, Code.Unavailable, Code.Aborted)) return disconnected(new Error(text));
  // Without a detail these come from a peer that does not speak as it should.
  if (is(code, Code.InvalidArgument, Code.Internal, Code.DataLoss, Code.ResourceExhausted, Code.Unimplemented)) {
    return protocolError(text);
  }
  return new PyroError("INTERNAL", `the guest agent failed: ${text}`);
}

function is(code: number, ...codes: readonly number[]): boolean {
  return codes.includes(code);
}
