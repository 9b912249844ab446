import { expect, it } from "vitest";
import { encodeTarHeader, TAR_BLOCK, tarEntry } from "../../../src/kit/index.js";

const text = (bytes: Buffer, from: number, to: number): string => bytes.toString("latin1", from, to);

it.each([
  [0, 0, undefined],
  [1_700_000_000, 0, undefined],
  [1_700_000_000, 5, "30 mtime=1700000000.000000005\n"],
  [-1, 750_000_000, "22 mtime=-0.250000000\n"],
  [-2, 250_000_000, "22 mtime=-1.750000000\n"],
  [-2, 0, "12 mtime=-2\n"],
])("writes the time %i s and %i ns", (mtime, mtimeNanos, record) => {
  const bytes = encodeTarHeader(tarEntry("name", "0", { mtime, mtimeNanos }));
  expect(bytes.length).toBe(record === undefined ? TAR_BLOCK : 3 * TAR_BLOCK);
  if (record !== undefined) expect(text(bytes, 512, 512 + record.length)).toBe(record);
  if (record !== undefined) expect(Number(record.split(" ")[0])).toBe(record.length);
  expect(text(bytes, bytes.length - 512 + 136, bytes.length - 512 + 147)).toBe(
    Math.max(0, mtime).toString(8).padStart(11, "0"),
  );
});

it("writes sizes of 8 GiB and more in base 256, and refuses modes that do not fit", () => {
  const size = 8 * 1024 ** 3;
  expect(text(encodeTarHeader(tarEntry("n", "0", { size: size - 1 })), 124, 136)).toBe("77777777777\0");
  const bytes = encodeTarHeader(tarEntry("n", "0", { size: size + 3 }));
  expect(bytes.subarray(124, 136).toString("hex")).toBe("800000000000000200000003");
  expect(() => encodeTarHeader(tarEntry("n", "0", { uid: 2 ** 24 }))).toThrow("does not fit");
});
