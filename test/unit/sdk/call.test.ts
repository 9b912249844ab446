import { create } from "@bufbuild/protobuf";
import { getEventListeners } from "node:events";
import { expect, test } from "vitest";
import { PyroError } from "../../../src/protocol/index.js";
import { ErrorDetailSchema } from "../../../src/protocol/gen/pyro/daemon/v1/error_pb.js";
import { callScope, wireError } from "../../../src/sdk/call.js";
import { WireFailure } from "../../../src/sdk/wire-failure.js";

const detailed = (value: { code?: string; detailsJson?: string }): PyroError =>
  wireError(
    new WireFailure(
      "failed_precondition",
      "raw",
      create(ErrorDetailSchema, { code: "DISK_FULL", message: "full", hint: "free some", ...value }),
    ),
  );

test("the daemon's detail is the error", () => {
  expect(detailed({ detailsJson: '{"bytes":7}' })).toMatchObject({
    code: "DISK_FULL",
    message: "full",
    hint: "free some",
    details: { bytes: 7 },
  });
  expect(detailed({ code: "NEW_CODE" })).toMatchObject({
    code: "INTERNAL",
    details: { peer_code: "NEW_CODE" },
  });
});

test.each(["", "not json", "[1]", "null", `{"a":"${"x".repeat(100_000)}"}`])(
  "details that are no bounded JSON object are dropped: %.20s",
  (detailsJson) => {
    expect(detailed({ detailsJson }).details).toEqual({});
  },
);

test("a prototype cannot be smuggled in by details", () => {
  const error = detailed({ detailsJson: '{"__proto__":{"polluted":1}}' });
  expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
  expect(Object.getPrototypeOf(error.details)).toBe(Object.prototype);
});

test.each(["unavailable", "aborted", "canceled", "unknown", "internal"])(
  "a connection error %s without a detail is DAEMON_UNREACHABLE",
  (code) => {
    expect(wireError(new WireFailure(code, "gone"))).toMatchObject({
      code: "DAEMON_UNREACHABLE",
      retryable: true,
    });
  },
);

test("an unknown call is named as a matter of versions, other errors as defects", () => {
  expect(wireError(new WireFailure("unimplemented", "no such")).hint).toContain("pyro daemon stop");
  expect(wireError(new WireFailure("out_of_range", "odd")).code).toBe("INTERNAL");
  expect(wireError(Object.assign(new Error("x"), { code: "ECONNRESET" })).code).toBe("DAEMON_UNREACHABLE");
  expect(wireError(new TypeError("x")).code).toBe("INTERNAL");
});

test("a scope leaves no listener on the caller's signal, and keeps the first reason", () => {
  const controller = new AbortController();
  {
    using scope = callScope("it", { signal: controller.signal });
    scope.abort(new PyroError("INVALID_ARGUMENT", "first"));
    controller.abort();
    expect(scope.error(new Error("second"))).toMatchObject({ code: "INVALID_ARGUMENT", message: "first" });
  }
  expect(getEventListeners(controller.signal, "abort")).toEqual([]);
});

test("a reason that is a PyroError already stays itself", () => {
  const reason = new PyroError("CANCELLED", "ended by SIGTERM");
  using scope = callScope("it", { signal: AbortSignal.abort(reason) });
  expect(scope.error(new Error("x"))).toBe(reason);
});
