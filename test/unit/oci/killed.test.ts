import { readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { baseEnvironment, complete } from "../../../src/kit/index.js";
import { FAILPOINTS, prefixOf } from "../../failpoints.js";
import { imagePullProgram } from "../../fakes/image-pull-program.js";
import { tarOf, type AddedImage } from "../../fakes/fake-registry.js";
import { pulling, type Pulling } from "./pulling.js";

let program: string;
beforeAll(async () => {
  program = await imagePullProgram();
});

let at: Pulling;
let image: AddedImage;
let directory: string;
beforeEach(async () => {
  at = await pulling();
  image = at.registry.addImage("tool", "1", { layers: [tarOf(1, 700_000), tarOf(2)] });
  directory = join(at.directory, "killed");
  await writeFile(join(at.directory, "pull.mjs"), program);
});
afterEach(async () => {
  await at[Symbol.asyncDispose]();
});

/** Pulls in a process of its own. */
async function pull(env: Record<string, string> = {}, prefix: readonly string[] = []) {
  const args = [process.execPath, join(at.directory, "pull.mjs"), directory, at.registry.name, "tool:1"];
  return await complete("env", [...prefix, ...args], { env: { ...baseEnvironment(), ...env } });
}

it("A disk without room is told as such, and what found room is gone on with", async () => {
  // Files of 400 blocks of 512 bytes at most; to write more is an error, as on a full disk.
  const strained = ["--ignore-signal=XFSZ", "sh", "-c", 'ulimit -f 400; exec "$@"', "sh"];
  const refused = await pull({}, strained);
  expect(refused).toMatchObject({ code: 3, stdout: expect.stringContaining('"code":"DISK_FULL"') as string });
  const [part = ""] = await readdir(join(directory, "partial"));
  expect((await stat(join(directory, "partial", part))).size).toBe(400 * 512);
  at.registry.requests.length = 0;
  expect(await pull()).toMatchObject({ code: 0 });
  expect(at.registry.requests.map(({ headers }) => headers.range)).toContain(`bytes=${400 * 512}-`);
});

describe("a pull whose process is killed", () => {
  it.each(FAILPOINTS.filter((name) => prefixOf(name) === "blob"))(
    "at %s goes on with what was fetched, and leaves nothing behind",
    async (point) => {
      const killed = await pull({ PYRO_FAILPOINT: point });
      expect(killed.signal).toBe("SIGKILL");
      const resumed = await pull();
      expect(resumed).toMatchObject({ code: 0, stdout: expect.stringContaining(image.digest) as string });
      const total = [...at.registry.blobs.values()].reduce((sum, { length }) => sum + length, 0);
      // The first that passes is the configuration, alone: nothing is sent twice. test/registry kills in the middle.
      expect(at.registry.blobBytesSent).toBe(total);
      expect(await readdir(join(directory, "partial"))).toEqual([]);
      const blobs = await readdir(join(directory, "blobs/sha256"));
      // What a killed `put` left is no blob, and a prune's.
      expect(blobs.filter((name) => !name.endsWith(".tmp"))).toHaveLength(4);
      expect(await pull()).toMatchObject({ stdout: expect.stringContaining('"reused":true') as string });
    },
  );
});
