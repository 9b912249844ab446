import { fromBinary, toBinary, create } from "@bufbuild/protobuf";
import { getTextEncoding } from "@bufbuild/protobuf/wire";
import { describe, expect, it } from "vitest";
import { useBufferForText } from "../../../src/kit/index.js";
import { HelloRequestSchema } from "../../../src/protocol/gen/pyro/guest/v1/guest_pb.js";

describe("text in messages", () => {
  const usual = getTextEncoding();

  it("is read and written as protobuf-es does it by itself", () => {
    useBufferForText();
    const own = getTextEncoding();
    expect(own).not.toBe(usual);
    const texts = ["", "a", "pyro/guest/v1", "\u00e9\u4e2d\u{1f600}", "a\0b", "x".repeat(100_000), "\ud800"];
    for (const text of texts) {
      const bytes = usual.encodeUtf8(text);
      expect(own.encodeUtf8(text)).toEqual(bytes);
      expect(own.decodeUtf8(bytes)).toBe(usual.decodeUtf8(bytes));
      expect(own.checkUtf8(text)).toBe(usual.checkUtf8(text));
    }
    for (const broken of [[0xff], [0x61, 0xc3], [0xe4, 0xb8], [0xf0, 0x9f, 0x98, 0x62]]) {
      const bytes = Uint8Array.from(broken);
      expect(own.decodeUtf8(bytes)).toBe(usual.decodeUtf8(bytes));
      expect(() => own.decodeUtf8(bytes, true)).toThrow();
    }
    const message = create(HelloRequestSchema, { hostVersion: "1.2.3-\u00e9" });
    expect(fromBinary(HelloRequestSchema, toBinary(HelloRequestSchema, message)).hostVersion).toBe(
      message.hostVersion,
    );
  });
});
