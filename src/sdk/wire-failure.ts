import { fromBinary } from "@bufbuild/protobuf";
import { isJsonObject } from "../kit/index.js";
import { ErrorDetailSchema, type ErrorDetail } from "../protocol/gen/pyro/daemon/v1/error_pb.js";

/** What went wrong with a call, as the wire tells it. */
export class WireFailure extends Error {
  /**
   * @param code of the Connect protocol, for example "unavailable"
   * @param detail the daemon's own error, where it told one
   */
  constructor(
    readonly code: string,
    message: string,
    readonly detail?: ErrorDetail,
    cause?: unknown,
  ) {
    super(message, { cause });
    this.name = "WireFailure";
  }
}

/** What no daemon sends. */
export function violation(what: string): WireFailure {
  return new WireFailure("internal", `the daemon sent ${what}`);
}

/** The daemon is gone, or left the call. */
export function lost(reason: string, cause?: unknown): WireFailure {
  return new WireFailure("unavailable", reason, undefined, cause);
}

/** Of an answer that is none: by its body, else by its status. */
export function failureOfAnswer(status: number, body: Buffer): WireFailure {
  return (
    toFailure(parse(body)) ?? new WireFailure(status === 404 ? "unimplemented" : "unknown", `HTTP ${status}`)
  );
}

/** What the end of a stream tells: undefined where all went well. */
export function failureAtEnd(end: Buffer): WireFailure | undefined {
  const told = parse(end);
  if (told === undefined) return violation("an end of a stream that is no JSON object");
  if (told["error"] === undefined) return undefined;
  return toFailure(told["error"]) ?? violation("an error without a code");
}

function parse(bytes: Buffer): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(bytes.toString("utf8"));
    return isJsonObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** `{"code":"not_found","message":"…","details":[{"type":"pyro.daemon.v1.ErrorDetail","value":"BASE64"}]}` */
function toFailure(error: unknown): WireFailure | undefined {
  if (!isJsonObject(error) || typeof error["code"] !== "string") return undefined;
  const { code, message, details } = error;
  const text = typeof message === "string" ? message : "";
  return new WireFailure(code, text, toDetail(Array.isArray(details) ? details : []));
}

function toDetail(details: readonly unknown[]): ErrorDetail | undefined {
  for (const detail of details) {
    if (!isJsonObject(detail) || detail["type"] !== ErrorDetailSchema.typeName) continue;
    if (typeof detail["value"] !== "string") continue;
    try {
      return fromBinary(ErrorDetailSchema, Buffer.from(detail["value"], "base64"));
    } catch {
      // What the code says is left.
    }
  }
  return undefined;
}
