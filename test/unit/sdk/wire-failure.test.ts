import { create, toBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { ErrorDetailSchema } from "../../../src/protocol/gen/pyro/daemon/v1/error_pb.js";
import { failureAtEnd, failureOfAnswer } from "../../../src/sdk/wire-failure.js";

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const detail = Buffer.from(
  toBinary(ErrorDetailSchema, create(ErrorDetailSchema, { code: "DISK_FULL", message: "full" })),
);
const told = {
  code: "resource_exhausted",
  message: "full",
  details: [
    { type: "of.another.Kind", value: "AA" },
    // Connect writes base64 without padding.
    { type: "pyro.daemon.v1.ErrorDetail", value: detail.toString("base64").replace(/=+$/, "") },
  ],
};

test("the daemon's error is read from an answer and from a stream's end", () => {
  const expected = { code: "resource_exhausted", message: "full", detail: { code: "DISK_FULL" } };
  expect(failureOfAnswer(429, json(told))).toMatchObject(expected);
  expect(failureAtEnd(json({ error: told, metadata: {} }))).toMatchObject(expected);
});

test("an end without an error is none", () => {
  expect(failureAtEnd(json({}))).toBeUndefined();
  expect(failureAtEnd(json({ metadata: { a: ["b"] } }))).toBeUndefined();
});

test.each(["", "{", "null", "[]", '{"error":{}}', '{"error":null}', '{"error":{"code":7}}'])(
  "an end that is none of the protocol's is a failure: %s",
  (text) => {
    expect(failureAtEnd(Buffer.from(text))).toMatchObject({ code: "internal", detail: undefined });
  },
);

test.each([
  [404, "", "unimplemented"],
  [500, "<html>", "unknown"],
  [503, '{"message":"no code"}', "unknown"],
])("an answer with status %d and the body %j is told by its status: %s", (status, body, code) => {
  expect(failureOfAnswer(status, Buffer.from(body))).toMatchObject({ code, message: `HTTP ${status}` });
});

test.each([{ value: 7 }, { value: "!!" }, { value: Buffer.from([0x0a, 9]).toString("base64") }, null, "x"])(
  "a detail that is broken leaves the code: %j",
  (broken) => {
    const details = [{ type: "pyro.daemon.v1.ErrorDetail", ...(typeof broken === "object" ? broken : {}) }];
    const failure = failureOfAnswer(400, json({ ...told, details }));
    expect(failure).toMatchObject({ code: "resource_exhausted", message: "full" });
    expect(failure.detail?.code ?? "").toBe("");
  },
);
