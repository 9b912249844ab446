import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { startRegistry, tool } from "../registry/real-registry.js";
import { json, pyro, testState, type TestState } from "./support.js";

const NAME = "box:1";
/** Any file; not below /tmp, which is the machine's own, and where a checkout may be. */
const MARKER = "/etc/debian_version";
let state: TestState;
let directory: string;
/** As skopeo copied it out of a registry. */
let archive: string;

beforeAll(async () => {
  state = await testState({ environments: false });
  directory = await mkdtemp(join(tmpdir(), "pyro-archives-"));
  archive = join(directory, "box.tar");
  await using registry = await startRegistry();
  await registry.addImage("team/box", "1", ["/bin/busybox", MARKER]);
  const from = `docker://${registry.name}/team/box:1`;
  const copy = (to: string): Promise<string> =>
    tool("skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", from, to);
  await copy(`oci-archive:${archive}:team/box:1`);
  await copy(`oci:${join(directory, "layout")}:team/box:1`);
  await copy(`docker-archive:${join(directory, "old.tar")}:team/box:1`);
});
afterAll(async () => {
  await state[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

const cli = async (...args: string[]) => {
  const { code, stdout, stderr } = await pyro(args, { stateDir: state.path });
  return { code, stdout: stdout.toString(), stderr };
};

it("What is no archive, or a damaged one, is named with what to do, and is no environment", async () => {
  const bytes = await readFile(archive);
  const damaged = Buffer.from(bytes);
  // In the middle of the largest blob, which is busybox's layer.
  const middle = Math.floor(bytes.length / 2);
  damaged.writeUInt8(damaged.readUInt8(middle) ^ 1, middle);
  const files: readonly [string, Buffer | undefined, RegExp][] = [
    [
      "cut.tar",
      bytes.subarray(0, middle),
      /^IMAGE_ARCHIVE_INVALID: .*"\/.*cut\.tar"[^]*hint: .*skopeo copy/m,
    ],
    ["damaged.tar", damaged, /^BLOB_DIGEST_MISMATCH: [^]*hint: .*anew/m],
    [
      "old.tar",
      undefined,
      /^IMAGE_FORMAT_NOT_SUPPORTED: [^]*hint: .*skopeo copy docker-archive:\S*old\.tar oci-archive:/m,
    ],
    ["none.tar", undefined, /^IMAGE_ARCHIVE_INVALID: .*ENOENT/m],
  ];
  for (const [name, content, says] of files) {
    const path = join(directory, name);
    if (content !== undefined) await writeFile(path, content);
    const { code, stdout, stderr } = await cli("env", "pull", "other:1", "--from", path);
    expect({ name, code, stdout }).toEqual({ name, code: 1, stdout: "" });
    expect(stderr).toMatch(says);
  }
  expect((await cli("env", "pull", NAME, "--image", "x")).stderr).toMatch(
    /^INVALID_ARGUMENT: [^]*--from FILE/m,
  );
  expect((await cli("env", "pull", "debian:12", "--from", archive)).stderr).toMatch(/^INVALID_ARGUMENT: /m);
  expect((await cli("env", "list")).stdout).not.toContain("other:1");
  expect(await readdir(join(state.path, "cache/pulls")).catch(() => [])).toEqual([]);
});

it("An archive that skopeo wrote is pulled by its file, and run", async () => {
  const pulled = await cli("env", "pull", NAME, "--from", relative(process.cwd(), archive));
  expect(pulled).toMatchObject({ code: 0, stdout: expect.stringContaining("box:1 is ready") as string });
  const script = `echo $GREETING; /bin/busybox cat ${MARKER}`;
  const ran = await cli("run", NAME, "--", "/bin/busybox", "sh", "-c", script);
  expect(ran).toMatchObject({ code: 0, stdout: `hello\n${await readFile(MARKER, "utf8")}` });

  const shown = await cli("env", "inspect", NAME);
  expect(shown.stdout).toMatch(/^source +archive$/m);
  expect(shown.stdout).toMatch(/^made from +the file box\.tar$/m);
  const known = json(await pyro(["env", "inspect", NAME, "--json"], { stateDir: state.path }));
  expect(known).toMatchObject({ name: NAME, source: "archive", origin: { reference: "box.tar" } });

  // The same image as a directory is the same environment.
  const again = await cli("env", "pull", NAME, "--from", join(directory, "layout"));
  expect(again.stdout).toContain("box:1 is on this host and whole");
  expect(await readdir(join(state.path, "cache/pulls")).catch(() => [])).toEqual([]);
});
