import { Code, ConnectError } from "@connectrpc/connect";
import { PyroError, fromWire } from "../protocol/index.js";
import { ErrorDetailSchema } from "../protocol/gen/pyro/guest/v1/guest_pb.js";

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

/**
 * Any error of a call as a PyroError. What the guest says itself (an ErrorDetail) wins; else, when the epoch is over,
 * that is the reason of all that failed with it.
 */
export function translateCallError(error: unknown, epochReason: PyroError | undefined): PyroError {
  if (error instanceof PyroError) return error;
  const failure = ConnectError.from(error);
  const detail = guestDetail(failure);
  if (detail !== undefined) return detail;
  if (failure.cause instanceof PyroError) return failure.cause;
  if (epochReason !== undefined) return epochReason;
  const message = failure.rawMessage.slice(0, GUEST_TEXT_CHARACTERS);
  if (failure.code === Code.Canceled) {
    return new PyroError("CANCELLED", "the call to the guest agent was cancelled", { cause: error });
  }
  if (failure.code === Code.DeadlineExceeded) {
    return new PyroError("DEADLINE_EXCEEDED", "the guest agent did not answer in time", {
      hint: "the virtual machine may be busy: try again, or give it more vCPUs",
      retryable: true,
      cause: error,
    });
  }
  if (failure.code === Code.Unavailable || failure.code === Code.Aborted) return disconnected(error);
  if (BROKEN.has(failure.code)) return protocolError(message, error);
  return new PyroError("INTERNAL", `the guest agent failed: ${message}`, { cause: error });
}

/** Without a detail of the agent these come from a peer that does not speak as it should. */
const BROKEN: ReadonlySet<Code> = new Set([
  Code.InvalidArgument,
  Code.Internal,
  Code.DataLoss,
  Code.ResourceExhausted,
  Code.Unimplemented,
]);

function guestDetail(failure: ConnectError): PyroError | undefined {
  try {
    const detail = failure.findDetails(ErrorDetailSchema)[0];
    if (detail === undefined) return undefined;
    const message = detail.message.slice(0, GUEST_TEXT_CHARACTERS);
    return fromWire(detail.code.slice(0, 100), message, {
      hint: detail.hint.slice(0, GUEST_TEXT_CHARACTERS),
      cause: failure,
    });
  } catch {
    return undefined;
  }
}
