/** Environments built on images of a real registry, and commands of a build as their users. */
import { execFileSync } from "node:child_process";
import { statfsSync } from "node:fs";
import { chmod, copyFile, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startRegistry, tool, type RealRegistry } from "../registry/real-registry.js";
import { client, json, leftovers, machinesOf, pyro, testState, type TestState } from "./support.js";

const APPLETS = ["sh", "cat", "dd", "echo", "id", "mkdir", "pwd", "sync", "touch"];

let state: TestState;
let registry: RealRegistry;
let directory: string;

/** A small system with a shell and a user, made by umoci: `box:1`. */
async function addBox(): Promise<void> {
  const tree = join(directory, "tree");
  for (const path of ["bin", "etc", "home/app"]) await mkdir(join(tree, path), { recursive: true });
  await chmod(join(tree, "home/app"), 0o777);
  await copyFile("/bin/busybox", join(tree, "bin/busybox"));
  for (const applet of APPLETS) await symlink("busybox", join(tree, "bin", applet));
  const passwd = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:App:/home/app:/bin/sh\n";
  await writeFile(join(tree, "etc/passwd"), passwd);
  await writeFile(join(tree, "etc/group"), "root:x:0:\napp:x:1001:\nstaff:x:50:app\n");
  const image = `${join(registry.directory, "layout")}:box`;
  await tool("umoci", "new", "--image", image);
  for (const name of ["bin", "etc", "home"])
    await tool("umoci", "insert", "--image", image, join(tree, name), `/${name}`);
  const config = [
    "--config.env",
    "GREETING=hello",
    "--config.user",
    "app",
    "--config.workingdir",
    "/home/app",
  ];
  await tool("umoci", "config", "--image", image, ...config);
  const copy = ["--insecure-policy", "copy", "--dest-tls-verify=false"];
  await tool("skopeo", ...copy, `oci:${image}`, `docker://${registry.name}/box:1`);
}

beforeAll(async () => {
  state = await testState({ environments: false });
  directory = await mkdtemp(join(tmpdir(), "pyro-image-build-test-"));
  registry = await startRegistry();
  await mkdir(join(directory, ".config/pyro"), { recursive: true });
  await writeFile(
    join(directory, ".config/pyro/config.toml"),
    `insecure_registries = ["${registry.name}"]\n`,
  );
  await writeFile(join(directory, "file"), "copied\n");
  await addBox();
  await registry.addImage("single", "1", ["/bin/busybox"]);
});
afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
  await state[Symbol.asyncDispose]();
});

const call = (...args: string[]) => pyro(args, { stateDir: state.path, env: { HOME: directory } });

/** Builds of a Dockerfile whose BASE is an image of the registry. */
async function build(name: string, image: string, lines: readonly string[]) {
  const file = join(directory, "Dockerfile");
  await writeFile(file, ["ARG BASE", "FROM $BASE", ...lines, ""].join("\n"));
  return await call(
    "env",
    "build",
    name,
    "--file",
    file,
    "--arg",
    `BASE=${registry.name}/${image}`,
    "--json",
  );
}

it("On an image of a registry commands are its user's, or whose USER says, and so are those of the result", async () => {
  const lines = [
    "ENV MODE=built",
    'RUN id > who && echo "$GREETING $MODE $HOME $USER $PWD" >> who',
    'RUN mkdir /mine || echo "refused to app" >> who',
    "USER root",
    "RUN mkdir /mine && id -un > /mine/who && echo $HOME >> /mine/who && echo late:x:77:7::/: >> /etc/passwd",
    "USER late",
    "RUN id -un > late",
    "USER 1000:staff",
    "RUN id -u >> who && id -g >> who && id -G >> who",
    "COPY file copied",
    'CMD ["sh", "-c", "id -u; id -gn; pwd; cat who /mine/who late copied"]',
  ];
  const first = await build("built", "box:1", lines);
  expect([first.code, first.stderr, json(first)]).toMatchObject([
    0,
    expect.stringContaining('[1/6] RUN id > who && echo "$GREETING $MODE $HOME $USER $PWD" >> who\n'),
    { environment: { name: "built", source: "build" }, step_count: 6, cached_count: 0 },
  ]);
  const { code, stdout } = await call("run", "built");
  expect([code, stdout.toString().split("\n")]).toEqual([
    0,
    [
      ...["1000", "staff", "/home/app"],
      "uid=1000(app) gid=1001(app) groups=50(staff),1001(app)",
      "hello built /home/app app /home/app",
      ...["refused to app", "1000", "50", "50"],
      ...["root", "/root", "late", "copied", ""],
    ],
  ]);

  // Another user is another step, and so are all that follow it.
  const other = lines.map((line) => (line === "USER root" ? "USER 0" : line));
  expect(json(await build("other", "box:1", other))).toMatchObject({ step_count: 6, cached_count: 2 });
  expect(json(await build("built", "box:1", lines))).toMatchObject({ reused: true });
}, 240_000);

it("A user whom the image does not have is named with the step's line", async () => {
  const failed = await build("nobody", "box:1", ["USER nobody-here", "RUN id"]);
  expect([failed.code, json(failed)]).toMatchObject([
    1,
    {
      error: {
        code: "GUEST_USER_NOT_FOUND",
        message: 'step 1 of 1 (Dockerfile:4) RUN id: the user "nobody-here" is not in /etc/passwd',
        hint: expect.stringContaining("by its number") as string,
        details: { step: 1, line: 4 },
      },
    },
  ]);
}, 120_000);

it("On an image without a shell a line says so with its number, and words are run", async () => {
  const failed = await build("line", "single:1", ["COPY file /file", "RUN echo"]);
  expect([failed.code, json(failed)]).toMatchObject([
    1,
    {
      error: {
        code: "NO_SHELL_IN_ENVIRONMENT",
        message: "step 2 of 2 (Dockerfile:4) RUN echo: the environment has no shell (/bin/sh)",
        hint: expect.stringContaining('RUN ["/app", "word"]') as string,
        details: { step: 2, line: 4 },
      },
    },
  ]);
  const words = [
    "COPY file /file",
    'RUN ["/bin/busybox", "cp", "/file", "/second"]',
    'CMD ["/bin/busybox", "cat", "/second"]',
  ];
  expect(json(await build("words", "single:1", words))).toMatchObject({ step_count: 2, cached_count: 1 });
  expect(await call("run", "words")).toMatchObject({ code: 0, stdout: Buffer.from("copied\n") });
}, 180_000);

const isRoot = process.getuid?.() === 0;
const MIB = 1024 * 1024;

// Mounting needs root.
describe.skipIf(!isRoot)("On a host whose disk becomes full", () => {
  it.each([
    ["while its command writes", "dd if=/dev/urandom of=big bs=1M count=64 2>/dev/null; sync; echo done"],
    ["as what it wrote goes to the disk", "dd if=/dev/urandom of=big bs=1M count=64 2>/dev/null"],
  ])(
    "a step says so %s, and the steps before it are kept for the next build",
    async (_, line) => {
      const mount = await mkdtemp(join(tmpdir(), "pyro-full-build-"));
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=640m,mode=0711", "tmpfs", mount]);
      const stateDir = join(mount, "state");
      const filler = join(mount, "filler");
      const from = `${registry.name}/box:1`;
      try {
        const pulled = await pyro(["env", "pull", from], { stateDir, env: { HOME: directory } });
        expect([pulled.code, pulled.stderr]).toMatchObject([0, expect.any(String)]);
        await using sdk = await client(stateDir);
        const said: string[] = [];
        const build = (onStep: (step: { readonly number: number }) => void) =>
          sdk.buildEnvironment({
            ...{ name: "full", from, run: ["echo kept > kept", `echo begun; ${line}`], noPull: true, onStep },
            onOutput: (data) => void said.push(Buffer.from(data).toString()),
          });
        const failed = build(({ number }) => {
          // Some for its machine to begin with.
          const { bavail, bsize } = statfsSync(mount);
          if (number === 2) execFileSync("fallocate", ["-l", String(bavail * bsize - 24 * MIB), filler]);
        });
        await expect(failed).rejects.toMatchObject({
          code: "DISK_FULL",
          message: expect.stringMatching(/^step 2 of 2 \(--run 2\) RUN echo begun.*disk is full/) as string,
        });
        expect(said.join("")).toBe("begun\n");
        const builds = join(stateDir, "cache/builds");
        expect(await readdir(join(builds, "work"))).toEqual([]);
        expect(
          (await readdir(join(builds, "layers"))).map((name) => name.replace(/.*\./, "")).sort(),
        ).toEqual(["json", "qcow2"]);
        expect(await machinesOf(stateDir)).toEqual([]);
        await rm(filler);
        expect(await build(() => undefined)).toMatchObject({ stepCount: 2, cachedCount: 1 });
        const { stdout } = await sdk.runInVm({
          environment: "full",
          command: "cat kept; dd if=big bs=1M of=/dev/null 2>&1",
        });
        expect(Buffer.from(stdout).toString()).toMatch(/^kept\n64\+0 records in\n/);
        await sdk.stopDaemon({ force: true });
        expect(await leftovers(stateDir)).toEqual([]);
      } finally {
        await rm(filler, { force: true });
        await pyro(["daemon", "stop", "--force"], { stateDir });
        execFileSync("umount", ["-l", mount]);
        await rm(mount, { recursive: true });
      }
    },
    240_000,
  );
});
