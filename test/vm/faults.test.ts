import { execFileSync, spawnSync } from "node:child_process";
import { chmod, mkdir, mkdtemp, open, rm, statfs, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { copyCache, json, leftovers, PYRO, pyro, testState, type Result, type TestState } from "./support.js";

const isRoot = process.getuid?.() === 0;
if (!isRoot) {
  console.log(
    "skipped: a missing QEMU and a full disk are staged by mounts, which need root; the unit tests have them",
  );
}

/** The error that `--json` prints. */
const errorOf = (result: Result): { code: string; message: string; hint: string } =>
  json(result)["error"] as { code: string; message: string; hint: string };

describe("bad hosts and bad input", () => {
  let state: TestState;
  beforeAll(async () => {
    state = await testState();
  });
  afterAll(() => state[Symbol.asyncDispose]());

  it("names the known environments when one is not known", async () => {
    const result = await pyro(["run", "Debian:99", "--json", "--", "true"], { stateDir: state.path });
    expect(result.code).toBe(125);
    expect(errorOf(result)).toMatchObject({ code: "UNKNOWN_ENVIRONMENT" });
    expect(errorOf(result).message + errorOf(result).hint).toContain("debian:12-build");
  });

  it("refuses to pull when it must not, and says what to type", async () => {
    await using empty = await testState({ environments: false });
    const result = await pyro(["run", "debian:12", "--no-pull", "--json", "--", "true"], {
      stateDir: empty.path,
    });
    expect(result.code).toBe(125);
    expect(errorOf(result)).toMatchObject({ code: "ENVIRONMENT_NOT_PULLED" });
    expect(errorOf(result).hint).toContain("pyro env pull debian:12");
  });

  it("notices one flipped byte of an image, and the next pull repairs it", async () => {
    await using damaged = await testState();
    const inspected = json(await pyro(["env", "inspect", "debian:12", "--json"], { stateDir: damaged.path }));
    const path = String(inspected["image_path"] ?? inspected["path"]);
    expect(path).toContain(damaged.path);
    await chmod(path, 0o600);
    const image = await open(path, "r+");
    const byte = Buffer.alloc(1);
    await image.read(byte, 0, 1, 10_000_000);
    await image.write(Buffer.of((byte[0] ?? 0) ^ 0xff), 0, 1, 10_000_000);
    await image.close();
    const result = await pyro(["run", "debian:12", "--json", "--", "true"], { stateDir: damaged.path });
    expect(result.code).toBe(125);
    expect(errorOf(result)).toMatchObject({ code: "ENVIRONMENT_DAMAGED" });
    expect(errorOf(result).hint).toContain("pyro env pull debian:12");
  });

  // Hiding a program needs a mount namespace; as an ordinary user the unit tests of the VMM room look elsewhere for it.
  it.skipIf(!isRoot)("says how to install QEMU where there is none", async () => {
    await using bare = await testState();
    const qemu = execFileSync("which", ["qemu-system-x86_64"]).toString().trim();
    const hidden = ["-m", "sh", "-c", 'mount --bind /dev/null "$0" && exec "$@"', qemu];
    const run = [
      process.execPath,
      PYRO,
      "--state-dir",
      bare.path,
      "run",
      "debian:12",
      "--json",
      "--",
      "true",
    ];
    const { status, stdout } = spawnSync("unshare", [...hidden, ...run]);
    expect(status).toBe(125);
    const { error } = JSON.parse(stdout.toString()) as { error: { code: string; hint: string } };
    expect(error.code).toBe("QEMU_NOT_FOUND");
    expect(error.hint).toMatch(/apt-get install/);
  });

  it("works in a state directory whose path is longer than a socket's may be", async () => {
    const parent = await mkdtemp(join(tmpdir(), "pyro-long-"));
    const long = join(parent, "d".repeat(100), "e".repeat(100));
    await mkdir(long, { recursive: true, mode: 0o700 });
    await copyCache(join(long, "cache"));
    const { code, stdout } = await pyro(["run", "debian:12", "--", "echo", "far"], { stateDir: long });
    await pyro(["daemon", "stop", "--force"], { stateDir: long });
    expect({ code, stdout: stdout.toString() }).toEqual({ code: 0, stdout: "far\n" });
    expect(await leftovers(long)).toEqual([]);
    await rm(parent, { recursive: true });
  });

  it("refuses a state directory that is somebody else's, and one that cannot be written", async () => {
    const parent = await mkdtemp(join(tmpdir(), "pyro-odd-"));
    const link = join(parent, "link");
    execFileSync("ln", ["-s", tmpdir(), link]);
    const linked = await pyro(["run", "debian:12", "--json", "--", "true"], { stateDir: link });
    expect(errorOf(linked)).toMatchObject({ code: "STATE_NOT_PRIVATE" });
    const blocked = join(parent, "file");
    await writeFile(blocked, "");
    const refused = await pyro(["run", "debian:12", "--json", "--", "true"], {
      stateDir: join(blocked, "below"),
    });
    expect(refused.code).toBe(125);
    expect(errorOf(refused).hint).toContain("--state-dir");
    await rm(parent, { recursive: true });
  });

  it("names all that is wrong with a configuration, starts nothing, and keeps what a running daemon read", async () => {
    const home = await mkdtemp(join(tmpdir(), "pyro-home-"));
    const options = { stateDir: join(home, "state"), env: { HOME: home } };
    const file = join(home, ".config/pyro/config.toml");
    await mkdir(join(home, ".config/pyro"), { recursive: true });
    await writeFile(file, "pool = -1\ncolour = 1\n");
    const refused = await pyro(["run", "debian:12", "--json", "--", "true"], options);
    expect(refused.code).toBe(125);
    const { code, message } = errorOf(refused);
    expect([code, message]).toEqual([
      "CONFIG_INVALID",
      `${file} has 2 problems: line 1: pool is -1, it has to be a whole number from 0 to 64; line 2: there is no key "colour"`,
    ]);
    expect((await pyro(["env", "list"], options)).code).toBe(1);
    const sick = await pyro(["doctor"], options);
    expect([sick.code, sick.stdout.toString()]).toEqual([1, expect.stringContaining("CONFIG_INVALID")]);
    expect(json(await pyro(["daemon", "status", "--json"], options))).toMatchObject({ running: false });
    await writeFile(file, "pool = 0\n");
    expect((await pyro(["env", "list"], options)).code).toBe(0);
    await writeFile(file, "no configuration at all");
    expect((await pyro(["env", "list"], options)).code).toBe(0);
    await pyro(["daemon", "stop", "--force"], options);
    await rm(home, { recursive: true });
  });

  it("lets a guest flood its console without harm", async () => {
    const flood = "head -c 20000000 /dev/zero | tr '\\0' x > /dev/console; echo still here";
    const { code, stdout } = await pyro(["run", "debian:12", "--", "sh", "-c", flood], {
      stateDir: state.path,
    });
    expect({ code, stdout: stdout.toString() }).toEqual({ code: 0, stdout: "still here\n" });
    const status = json(await pyro(["daemon", "status", "--json"], { stateDir: state.path }));
    expect(Number(status["resident_bytes"])).toBeLessThan(400e6);
  });

  // Mounting needs root; as an ordinary user the unit tests of the image room bound the file size instead.
  it.skipIf(!isRoot)(
    "says that the disk is full, leaves nothing, and works again when there is room",
    async () => {
      const mount = await mkdtemp(join(tmpdir(), "pyro-full-"));
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=1500m,mode=0711", "tmpfs", mount]);
      try {
        const full = join(mount, "state");
        await mkdir(full, { mode: 0o711 });
        await copyCache(join(full, "cache"), { environments: ["debian_12"], templates: false });
        await pyro(["env", "list"], { stateDir: full });
        const { bavail, bsize } = await statfs(mount);
        execFileSync("fallocate", ["-l", String(bavail * bsize), join(mount, "filler")]);
        const result = await pyro(["run", "debian:12", "--json", "--", "true"], { stateDir: full });
        expect(result.code).toBe(125);
        expect(errorOf(result)).toMatchObject({ code: "DISK_FULL" });
        await rm(join(mount, "filler"));
        const again = await pyro(["run", "debian:12", "--", "echo", "room"], { stateDir: full });
        expect({ code: again.code, stdout: again.stdout.toString() }).toEqual({ code: 0, stdout: "room\n" });
        await pyro(["daemon", "stop", "--force"], { stateDir: full });
        expect(await leftovers(full)).toEqual([]);
      } finally {
        execFileSync("umount", ["-l", mount]);
        await rm(mount, { recursive: true });
      }
    },
  );
});
