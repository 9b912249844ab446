import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { temporaryState } from "../../fakes/state-directory.js";
import { pyro } from "../../fakes/cli-with-daemon.js";

describe("env", () => {
  test("list shows what is on this host and what is not", async () => {
    const { status, stdout } = await pyro(["env", "list"]);
    expect(status).toBe(0);
    expect(stdout.split("\n")).toEqual([
      "ENVIRONMENT  SOURCE   SIZE    SHARED  LAST USE  TEMPLATE  DIGEST",
      "debian:12    curated  300 MB  -       -         cold      aaaaaaaaaaaa",
      "",
      "not on this host:",
      "  debian:12-build (fetches 250 MB)",
      "    Debian 12 with compilers",
      "",
    ]);
  });

  test("list --json carries the contract's fields", async () => {
    const { stdout } = await pyro(["env", "list", "--json"]);
    expect(JSON.parse(stdout)).toMatchObject({
      catalog_version: "2026-01",
      environments: [
        { name: "debian:12", installed: true, source: "curated", size_bytes: 300_000_000, template: "cold" },
        { name: "debian:12-build", installed: false, digest: null, size_bytes: 0 },
      ],
    });
  });

  test("inspect shows one environment, for people and as JSON", async () => {
    expect((await pyro(["env", "inspect", "debian:12"])).stdout).toContain(
      "packages      1 (--json lists them)",
    );
    expect((await pyro(["env", "inspect", "debian:12-build"])).stdout).toContain(
      "pyro env pull debian:12-build",
    );
    expect(JSON.parse((await pyro(["env", "inspect", "debian:12", "--json"])).stdout)).toMatchObject({
      packages: [{ name: "git", version: "1:2.39" }],
      created_at: "2023-11-14T22:13:20.000Z",
      image_path: "/cache/debian-12.img",
    });
  });

  test("pull tells its steps in lines where no terminal is, and the result on standard output", async () => {
    const { status, stdout, stderr } = await pyro(["env", "pull", "debian:12-build"]);
    expect(status).toBe(0);
    expect(stdout).toBe("debian:12-build is ready (0 B, 1.5 s)\n");
    expect(stderr.split("\n")).toEqual([
      "fetch it 0 B of 100 B (0 %)",
      "fetch it 50 B of 100 B (50 %)",
      "unpack it",
      "",
    ]);
  });

  test("pull draws a bar on a terminal", async () => {
    const { stderr } = await pyro(["env", "pull", "debian:12-build"], { tty: true });
    expect(stderr).toContain("\r\u001b[K[############............]  50 % fetch it 50 B of 100 B");
  });

  test("pull --json keeps progress off standard output", async () => {
    const { stdout } = await pyro(["env", "pull", "debian:12-build", "--json"]);
    expect(JSON.parse(stdout)).toMatchObject({ reused: false, repaired: false, duration_ms: 1500 });
  });

  test("pull of what is there says so", async () => {
    expect((await pyro(["env", "pull", "debian:12"])).stdout).toBe(
      "debian:12 is on this host and whole (300 MB)\n",
    );
  });

  test("push tells its steps, and where the image is", async () => {
    const { status, stdout, stderr } = await pyro(["env", "push", "debian:12", "registry.test/team/it"]);
    expect(status).toBe(0);
    expect(stdout).toBe(
      `registry.test/team/it:latest is pushed (30 MB, 20 MB of it new there, 2.5 s)\nsha256:${"1".repeat(64)}\n1 socket is left out: no image carries them\n`,
    );
    expect(stderr).toBe("pack it 50 B of 100 B (50 %)\nupload it 10 B of 30 B (33 %)\n");
    const { stdout: json } = await pyro(["env", "push", "debian:12", "registry.test/team/it", "--json"]);
    expect(JSON.parse(json)).toMatchObject({
      ...{ environment: "debian:12", reference: "registry.test/team/it:latest", same_image: false },
      ...{ size_bytes: 30_000_000, uploaded_bytes: 20_000_000, left_out: 1, duration_ms: 2500 },
    });
  });

  test("an unknown environment is a failure with its hint, status 1", async () => {
    expect(await pyro(["env", "pull", "nope"])).toMatchObject({
      status: 1,
      stderr: 'UNKNOWN_ENVIRONMENT: there is no environment "nope"\nhint: run `pyro env list`\n',
    });
  });

  test("prune says what went", async () => {
    expect((await pyro(["env", "prune"])).stdout).toBe("nothing to remove\n");
    const removed = "removed, and freed 300 MB:\n  debian:12\n";
    expect((await pyro(["env", "prune", "--all"])).stdout).toBe(removed);
    expect((await pyro(["env", "prune", "--older-than", "30d"])).stdout).toBe(removed);
    expect((await pyro(["env", "prune", "--older-than", "1w", "--dry-run"])).stdout).toBe(
      "would remove, and free 300 MB:\n  debian:12\n",
    );
    expect(await pyro(["env", "prune", "--older-than", "soon"])).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("30d, 12h") as string,
    });
  });

  test("delete names what went, and what is not there", async () => {
    expect((await pyro(["env", "delete", "debian:12"])).stdout).toBe(
      "environment debian:12 is deleted: 300 MB freed\n",
    );
    expect((await pyro(["env", "delete", "nope"])).stderr).toContain("UNKNOWN_ENVIRONMENT");
  });

  test("build streams its steps and what they print, which drives no terminal, and ends with one record", async () => {
    const built = await pyro(["env", "build", "mine:1", "--from", "debian:12", "--run", "make it"]);
    const stdout = "mine:1 is ready (300 MB, 2.5 s; 0 of 1 steps were there)\n";
    expect(built).toMatchObject({ status: 0, stdout, calls: expect.arrayContaining(["Build"]) as unknown });
    expect(built.stderr).toContain("[1/1] RUN make it\nmade ^[[2J\n");
    await using state = await temporaryState();
    const file = join(state.path, "Dockerfile");
    await writeFile(file, "FROM debian:12\n");
    const ofFile = await pyro(["env", "build", "mine:1", "--file", file, "--json"]);
    expect(JSON.parse(ofFile.stdout)).toMatchObject({
      environment: { name: "mine:1", source: "build" },
      ...{ reused: false, step_count: 1, cached_count: 0, duration_ms: 2500 },
      warnings: [`${file}:3: LABEL was left out`],
    });
  });

  test("Ctrl-C ends a pull with status 130", async () => {
    const pull = async function* () {
      yield { event: { case: "progress" as const, value: { phase: "fetch", bytesTotal: 10n } } };
      await new Promise(() => undefined);
    };
    const ended = await pyro(["env", "pull", "x"], {
      script: { environment: { pull } },
      during: async (send) => {
        await new Promise((resolve) => setTimeout(resolve, 200));
        send("SIGINT");
      },
    });
    expect(ended.status).toBe(130);
  });
});

describe("prepare", () => {
  test("says what was made and what was there, for debian:12 where nothing is named", async () => {
    const { status, stdout, stderr } = await pyro(["prepare"]);
    expect([status, stderr]).toEqual([0, "template it\n"]);
    expect(stdout.split("\n")).toEqual([
      "environment  reused  12 ms",
      "template     reused  3.4 s",
      "debian:12 was ready already",
      "",
    ]);
  });

  test("--json carries the contract's fields; --force makes the template anew", async () => {
    const { stdout } = await pyro(["prepare", "debian:12", "--force", "--json"]);
    expect(JSON.parse(stdout)).toEqual({
      environment: "debian:12",
      reused: false,
      steps: [
        { name: "environment", what: "reused", duration_ms: 12 },
        { name: "template", what: "made", duration_ms: 3400 },
      ],
      duration_ms: 3412,
    });
  });

  test("pulls what is missing, with its progress", async () => {
    const { stdout, stderr } = await pyro(["prepare", "debian:12-build"]);
    expect(stderr).toBe("fetch it 50 B of 100 B (50 %)\ntemplate it\n");
    expect(stdout).toContain("debian:12-build is ready (3.4 s)");
  });

  test("refuses a network, and an environment that there is not", async () => {
    expect(await pyro(["prepare", "--network"])).toMatchObject({
      status: 1,
      stderr: "NETWORK_NOT_AVAILABLE: no network\nhint: run without --network\n",
    });
    expect((await pyro(["prepare", "nope"])).stderr).toContain("UNKNOWN_ENVIRONMENT");
  });
});
