import { mkdir, mkdtemp, readdir, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { json, pyro, testState, type TestState } from "./support.js";
import { violations } from "./invariants.js";

const DOCKERFILE = `FROM debian:12
ARG WHO=nobody
ENV GREETING="hello $WHO" PATH=/opt/bin:$PATH
WORKDIR /srv/app
COPY --chmod=755 hello.sh /opt/bin/hello
COPY --chown=1000:100 files .
# What one step leaves in /tmp, the next one finds.
RUN hello > said && echo kept > /tmp/kept
RUN sh -c 'test "$(cat /tmp/kept)" = kept' && rm /tmp/kept && \\
    stat -c '%n %a %u:%g' * > facts
LABEL nothing=here
CMD ["hello"]
`;

let state: TestState;
let context: string;
beforeAll(async () => {
  state = await testState();
  context = await mkdtemp(join(tmpdir(), "pyro-build-test-"));
  await writeFile(join(context, "hello.sh"), '#!/bin/sh\necho "$GREETING in $PWD"\n');
  await mkdir(join(context, "files/deep"), { recursive: true });
  await writeFile(join(context, "files/a.txt"), "a");
  await writeFile(join(context, "files/left-out.log"), "a secret");
  await symlink("../a.txt", join(context, "files/deep/link"));
  await writeFile(join(context, ".dockerignore"), "**/*.log\n");
  await writeFile(join(context, "Dockerfile"), DOCKERFILE);
});
afterAll(async () => {
  await rm(context, { recursive: true, force: true });
  await state[Symbol.asyncDispose]();
});

const call = (...args: string[]) => pyro(args, { stateDir: state.path });
const build = (...args: string[]) => call("env", "build", ...args);

/** What a machine of the environment prints, and says of itself. */
async function inside(environment: string, line: string): Promise<string> {
  const { code, stdout, stderr } = await call("run", environment, "--", "/bin/sh", "-c", line);
  expect([code, stderr.replace(/^pyro: software emulation.*\n/m, "")]).toEqual([0, ""]);
  return stdout.toString();
}

it("A Dockerfile is built, again at once, and a change does only what follows it", async () => {
  const file = ["--file", join(context, "Dockerfile"), "--arg", "WHO=you", "--json"];
  const first = await build("app:1", ...file);
  expect([first.code, json(first)]).toMatchObject([
    0,
    {
      environment: { name: "app:1", source: "build", installed: true },
      ...{
        reused: false,
        step_count: 4,
        cached_count: 0,
        warnings: [expect.stringContaining("Dockerfile:11: LABEL")],
      },
    },
  ]);
  expect(first.stderr).toContain("[3/4] RUN hello > said && echo kept > /tmp/kept\n");

  const again = json(await build("app:1", ...file));
  expect(again).toMatchObject({
    reused: true,
    cached_count: 4,
    environment: {
      digest: json(first)["environment"] && (json(first)["environment"] as { digest: string }).digest,
    },
  });
  expect(json(await build("app:2", ...file))).toMatchObject({ reused: false, cached_count: 4 });

  await writeFile(join(context, "files/a.txt"), "b");
  expect(json(await build("app:1", ...file))).toMatchObject({
    reused: false,
    step_count: 4,
    cached_count: 1,
  });

  const seen = await inside(
    "app:1",
    "cd /srv/app && cat said facts a.txt && find . /opt/bin -type f | sort && readlink deep/link && ls /tmp",
  );
  expect(seen.split("\n")).toEqual([
    "hello you in /srv/app",
    "a.txt 644 1000:100",
    "deep 755 1000:100",
    "said 644 0:0",
    "b./a.txt",
    ...["./facts", "./said", "/opt/bin/hello", "../a.txt", ""],
  ]);
}, 300_000);

it("The image has nothing of the machines that made it", async () => {
  // With a network a machine has more of its host.
  const first = await build(
    "plain",
    "--from",
    "debian:12",
    "--network",
    "--run",
    "ls /etc/apt/sources.list.d; cat /etc/resolv.conf",
  );
  expect([first.code, first.stderr]).toEqual([0, expect.stringContaining("nameserver 10.0.2.3")]);
  const shown = await build(
    "plain-look",
    "--from",
    "plain",
    "--run",
    "cat /etc/hostname; wc -c < /etc/machine-id; wc -c < /etc/resolv.conf; ls /etc/apt/sources.list.d; ls -d /workspace",
  );
  expect(shown.code).toBe(1);
  expect(shown.stderr).toContain("pyro\n0\n0\ndebian.sources\nls: cannot access '/workspace'");
}, 120_000);

it("A step that fails is named with its line, exit and output, and the build goes on from there once it is mended", async () => {
  const recipe = join(context, "recipe.toml");
  const text = (last: string) =>
    `from = "debian:12"\n[[step]]\nenv = { LEVEL = "7" }\n[[step]]\nrun = "echo first > /first"\n[[step]]\nrun = ${JSON.stringify(last)}\n`;
  await writeFile(recipe, text("echo about to fail; exit $LEVEL"));
  const failed = await build("mended", "--file", recipe, "--json");
  expect([failed.code, json(failed)]).toMatchObject([
    1,
    {
      error: {
        code: "ENVIRONMENT_BUILD_FAILED",
        details: { step: 2, place: "recipe.toml, step 3", exit_code: 7, output_tail: "about to fail" },
      },
    },
  ]);
  expect(json(await call("env", "inspect", "mended", "--json"))).toMatchObject({ installed: false });
  await writeFile(recipe, text("cat /first > /second"));
  expect(json(await build("mended", "--file", recipe, "--json"))).toMatchObject({
    step_count: 2,
    cached_count: 1,
  });
  expect(await inside("mended", "cat /second")).toBe("first\n");

  const slow = await build(
    "slow",
    "--from",
    "debian:12",
    "--run",
    "sleep 60",
    "--timeout-seconds",
    "1",
    "--json",
  );
  expect(json(slow)).toMatchObject({
    error: { code: "ENVIRONMENT_BUILD_FAILED", details: { timed_out: true } },
  });
  const user = await writeFile(join(context, "User"), "FROM debian:12\nUSER nobody-here\nRUN id\n").then(() =>
    build("user", "--file", join(context, "User"), "--json"),
  );
  expect(json(user)).toMatchObject({ error: { code: "GUEST_USER_NOT_FOUND", details: { line: 3 } } });
}, 180_000);

it("Whoever leaves ends the build; layers that nobody needs go with env prune, and nothing else is left", async () => {
  const controller = new AbortController();
  const { client } = await import("./support.js");
  await using sdk = await client(state.path);
  const left = sdk.buildEnvironment(
    {
      name: "left",
      from: "debian:12",
      run: ["echo kept", "sleep 600"],
      onStep: ({ number }) => number === 2 && controller.abort(),
    },
    { signal: controller.signal },
  );
  await expect(left).rejects.toMatchObject({ code: "CANCELLED" });
  const layers = async () =>
    (await readdir(join(state.path, "cache/builds/layers"))).filter((name) => name.endsWith(".qcow2")).length;
  const before = await layers();
  await expect.poll(() => readdir(join(state.path, "cache/builds/work")), { timeout: 20_000 }).toEqual([]);
  expect(
    (await sdk.pruneEnvironments()).removed.filter((name) => name.startsWith("build layer")).length,
  ).toBeGreaterThan(0);
  expect(await layers()).toBeLessThan(before);
  // What whole builds are made of is still there.
  const file = ["--file", join(context, "Dockerfile"), "--arg", "WHO=you", "--json"];
  expect(json(await build("app:3", ...file))).toMatchObject({ cached_count: 4 });
  expect(await stat(join(state.path, "cache/builds/names/app_3.json"))).toBeDefined();
  await sdk.stopDaemon({ force: true });
  expect(await violations(state.path)).toEqual([]);
}, 180_000);
