import { execFile } from "node:child_process";
import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Pyro } from "../../src/sdk/index.js";
import { addEnvironments, type TestConfig } from "./image-environment.js";
import { client, eventually, json, pyro, testState, type TestState } from "./support.js";

const run = promisify(execFile);
const NOTHING: TestConfig = { env: [], user: "", working_dir: "", entrypoint: [], cmd: [] };

const APPLETS =
  "sh cat cut echo env grep id kill ls mkdir pwd readlink sleep sort stat tail touch true".split(" ");

/** A small system with a shell, users, and a profile that would undo the image's PATH. */
async function boxTree(tree: string): Promise<void> {
  for (const path of ["bin", "etc", "opt/tools", "root", "home/app"])
    await mkdir(join(tree, path), { recursive: true });
  await copyFile("/bin/busybox", join(tree, "bin/busybox"));
  for (const applet of APPLETS) await symlink("busybox", join(tree, "bin", applet));
  await writeFile(
    join(tree, "etc/passwd"),
    "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:App:/home/app:/bin/sh\n",
  );
  await writeFile(join(tree, "etc/group"), "root:x:0:\napp:x:1001:\nstaff:x:50:app\n");
  await writeFile(join(tree, "etc/profile"), "PATH=/nowhere\n");
  await writeFile(join(tree, "opt/tools/hello"), "#!/bin/sh\necho hello from the image\n");
  await chmod(join(tree, "opt/tools/hello"), 0o755);
}

/** One program, which says what it finds; nothing else is in its image. */
const PROGRAM = `package main

import ("encoding/json"; "os"; "strings"; "time")

func main() {
	cwd, _ := os.Getwd()
	groups, _ := os.Getgroups()
	if len(os.Args) > 2 && os.Args[1] == "write" {
		if err := os.WriteFile(os.Args[2], []byte(strings.Join(os.Args[3:], " ")), 0o644); err != nil { panic(err) }
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "wait" { os.Stdout.WriteString("waiting\\n"); time.Sleep(time.Hour) }
	json.NewEncoder(os.Stdout).Encode(map[string]any{
		"args": os.Args[1:], "cwd": cwd, "uid": os.Getuid(), "gid": os.Getgid(), "groups": groups, "env": os.Environ(),
	})
}
`;

async function singleTree(tree: string): Promise<void> {
  await mkdir(tree, { recursive: true });
  await writeFile(join(tree, "../main.go"), PROGRAM);
  const env = { ...process.env, CGO_ENABLED: "0", GO111MODULE: "off" };
  await run("go", ["build", "-trimpath", "-o", join(tree, "app"), join(tree, "../main.go")], { env });
}

const BOX = {
  ...{ env: ["PATH=/opt/tools:/bin", "MODE=image"], user: "app", working_dir: "/srv/app" },
  ...{ entrypoint: ["/bin/echo", "entry"], cmd: ["and", "words"] },
};

let state: TestState;
let sdk: Pyro;
let scratch: string;

beforeAll(async () => {
  state = await testState({ environments: false });
  scratch = await mkdtemp(join(tmpdir(), "pyro-trees-"));
  await boxTree(join(scratch, "box"));
  await addEnvironments(state, join(scratch, "box"), {
    "box:1": BOX,
    "box-of-nobody:1": { ...BOX, user: "nobody-here" },
    "box-of-root:1": { ...NOTHING, cmd: ["/bin/id"] },
    "box-of-a-number:1": { ...NOTHING, user: "4242:staff", working_dir: "/proc/self/fd/7" },
  });
  await singleTree(join(scratch, "single"));
  await addEnvironments(state, join(scratch, "single"), {
    "single:1": { ...NOTHING, user: "65532:65532", entrypoint: ["/app"], cmd: ["by", "default"] },
    "silent:1": NOTHING,
  });
  sdk = await client(state.path);
});

afterAll(async () => {
  await sdk[Symbol.asyncDispose]();
  await state[Symbol.asyncDispose]();
  await rm(scratch, { recursive: true, force: true });
});

const cli = async (...args: string[]) => {
  const { code, stdout, stderr } = await pyro(args, { stateDir: state.path });
  return { code, stdout: stdout.toString(), stderr };
};

describe("a run of an image", () => {
  it("without a command is its entrypoint with its arguments; with one it is that alone", async () => {
    expect(await cli("run", "box:1")).toMatchObject({ code: 0, stdout: "entry and words\n" });
    expect(await cli("run", "box:1", "--", "echo", "mine")).toMatchObject({ code: 0, stdout: "mine\n" });
    expect((await cli("run", "box-of-root:1")).stdout).toBe("uid=0(root) gid=0(root) groups=0(root)\n");
    const none = await cli("run", "silent:1");
    expect(none).toMatchObject({ code: 125, stdout: "" });
    expect(none.stderr).toMatch(/^COMMAND_REQUIRED: .*"silent:1"[^]*hint: .*pyro run silent:1 -- /m);
  });

  it("is its user's: groups, home, streams, a working directory that is made, and no powers", async () => {
    const script = [
      "id",
      "grep -E '^Cap(Inh|Prm|Eff|Amb)' /proc/self/status | cut -f2 | sort -u",
      "pwd; echo $HOME $USER $LOGNAME $MODE; hello",
      "echo again > /dev/stderr; touch /workspace/mine && stat -c %U:%G /workspace /workspace/mine",
      "touch /etc/mine || echo refused",
    ].join("\n");
    const { stdout, stderr, code } = await cli("run", "box:1", "--", "sh", "-c", script);
    expect(stdout).toBe(
      [
        "uid=1000(app) gid=1001(app) groups=50(staff),1001(app)",
        ...["0000000000000000", "/srv/app", "/home/app app app image", "hello from the image"],
        ...["app:app", "app:app", "refused", ""],
      ].join("\n"),
    );
    expect(stderr).toContain("again\n");
    expect(code).toBe(0);
    // What the caller says comes last.
    const mine = await cli(
      "run",
      "box:1",
      "--env",
      "MODE=mine",
      "--env",
      "HOME=/",
      "--",
      "sh",
      "-c",
      "echo $MODE $HOME",
    );
    expect(mine.stdout).toBe("mine /\n");
  });

  it("of a line keeps the image's PATH, whatever a profile says", async () => {
    const { stdout } = await sdk.runInVm({ environment: "box:1", command: "hello; echo $PATH" });
    expect(stdout).toBe("hello from the image\n/opt/tools:/bin\n");
  });

  it("names a user whom the image does not have, and a working directory that is a trick", async () => {
    const nobody = await cli("run", "box-of-nobody:1");
    expect(nobody.code).toBe(125);
    expect(nobody.stderr).toMatch(
      /^GUEST_USER_NOT_FOUND: the user "nobody-here" is not in \/etc\/passwd\nhint: ./m,
    );
    const trick = await cli("run", "box-of-a-number:1", "--", "id");
    expect(trick.stderr).toMatch(/^WORKING_DIRECTORY_NOT_FOUND: .*\/proc\/self\/fd\/7/m);
  });

  it("of one program needs no shell, no passwd and none of the usual directories", async () => {
    const own = json(await pyro(["run", "single:1", "--json"], { stateDir: state.path }));
    const found = JSON.parse(String(own["stdout"])) as Record<string, unknown>;
    expect(found).toMatchObject({
      args: ["by", "default"],
      cwd: "/workspace",
      uid: 65532,
      gid: 65532,
      groups: [65532],
    });
    expect(found["env"]).toContain("HOME=/");
    expect(String(found["env"])).not.toContain("USER=");
    const given = await cli("run", "single:1", "--", "/app", "mine");
    expect(JSON.parse(given.stdout)).toMatchObject({ args: ["mine"] });
    const line = sdk.runInVm({ environment: "single:1", command: "ls" });
    await expect(line).rejects.toMatchObject({
      code: "NO_SHELL_IN_ENVIRONMENT",
      hint: expect.stringContaining("argv") as string,
    });
    expect((await cli("run", "single:1", "--", "/bin/sh", "-c", "true")).code).toBe(127);
  });
});

describe("a workspace of an image", () => {
  let workspaceId: string;
  const exec = async (command: string, id = workspaceId): Promise<string> => {
    const { output } = await sdk.execWorkspace({ workspaceId: id, command });
    return Buffer.concat([
      Buffer.from(output?.stdout.data ?? []),
      Buffer.from(output?.stderr.data ?? []),
    ]).toString();
  };
  const WHO = "id -un; pwd; echo $MODE $HOME; hello";
  const IS_APP = "app\n/workspace\nimage /home/app\nhello from the image\n";

  beforeAll(async () => {
    const seed = join(scratch, "seed");
    await mkdir(join(seed, "src"), { recursive: true });
    await writeFile(join(seed, "src/a.txt"), "one\n");
    await writeFile(join(seed, "run.sh"), "echo ran\n", { mode: 0o755 });
    workspaceId = (
      await sdk.createWorkspace({
        environment: "box:1",
        source: { kind: "path", path: seed },
        ttlSeconds: 3600,
      })
    ).workspaceId;
  });
  afterAll(async () => {
    await sdk.deleteWorkspace(workspaceId);
  });

  it("runs as the image's user in /workspace, which is that user's with all that pyro brings there", async () => {
    expect(await exec(WHO)).toBe(IS_APP);
    await sdk.writeWorkspaceFile({ workspaceId, path: "new/file.txt", content: "written\n" });
    const patch = "--- /dev/null\n+++ b/patched.txt\n@@ -0,0 +1 @@\n+patched\n";
    await sdk.applyWorkspacePatch({ workspaceId, patch });
    await mkdir(join(scratch, "push"));
    await writeFile(join(scratch, "push/pushed.txt"), "pushed\n");
    await sdk.pushWorkspaceSync({ workspaceId, sourcePath: join(scratch, "push") });
    const owners = await exec(
      "stat -c '%U:%G %n' . src src/a.txt run.sh new new/file.txt patched.txt pushed.txt",
    );
    expect([
      ...new Set(
        owners
          .trim()
          .split("\n")
          .map((line) => line.split(" ")[0]),
      ),
    ]).toEqual(["app:app"]);
    expect(
      await exec(
        "for f in src/a.txt new/file.txt patched.txt pushed.txt; do echo more >> $f || exit; done; ./run.sh",
      ),
    ).toBe("ran\n");
    const { patch: changes } = await sdk.diffWorkspace({ workspaceId });
    expect(Buffer.from(changes).toString()).toContain("+more");
    const outputPath = join(scratch, "exported");
    await sdk.exportWorkspace({ workspaceId, path: "src", outputPath });
    expect(await readFile(join(outputPath, "a.txt"), "utf8")).toBe("one\nmore\n");
  });

  it("has services and shells of the same user", async () => {
    const readiness = { type: "command", command: "hello && test $(id -un) = app" } as const;
    const service = { workspaceId, serviceName: "who", command: "id -un; hello; exec sleep 1000", readiness };
    expect((await sdk.startService(service)).state).toBe("running");
    await eventually("the service has said who it is", async () => {
      const { stdout } = await sdk.logsService({ workspaceId, serviceName: "who" });
      return Buffer.from(stdout.data).toString() === "app\nhello from the image\n";
    });
    const { shellId } = await sdk.openShell({ workspaceId });
    await sdk.writeShell({ workspaceId, shellId, input: "id -un; hello; echo $MODE > /dev/tty\n" });
    await eventually("the shell has answered", async () => {
      const { output } = await sdk.readShell({ workspaceId, shellId, plain: true, waitForIdleMs: 200 });
      return /\napp\nhello from the image\nimage\n/.test(output.replaceAll("\r", ""));
    });
    await sdk.closeShell({ workspaceId, shellId });
  });

  it("stays so when its name stands for another image: over a crash, a suspend, a stop, a reset and a fork", async () => {
    // The same disk, and another configuration.
    const manifests = join(state.path, "cache/environments");
    await copyFile(join(manifests, "box-of-root_1.json"), join(scratch, "other.json"));
    const other = (await readFile(join(scratch, "other.json"), "utf8")).replace("box-of-root:1", "box:1");
    const before = await readFile(join(manifests, "box_1.json"), "utf8");
    await writeFile(join(manifests, "box_1.json"), other);
    try {
      const { pid } = await sdk.daemonStatus();
      process.kill(pid ?? 0, "SIGKILL");
      // The connection breaks a moment after the process.
      await eventually(
        "the next daemon answers",
        async () => (await sdk.listWorkspaces().catch(() => [])).length > 0,
      );
      expect(await exec(WHO)).toBe(IS_APP);
      const forked = await sdk.forkWorkspace(workspaceId, { count: 1 });
      const [child] = forked.children;
      const childId = child?.workspaceId ?? "";
      expect(await exec(WHO, childId)).toBe(IS_APP);
      await sdk.deleteWorkspace(childId);
      await sdk.stopWorkspace(workspaceId, { suspend: true });
      await sdk.startWorkspace(workspaceId);
      expect(await exec(WHO)).toBe(IS_APP);
      await sdk.stopWorkspace(workspaceId);
      await sdk.startWorkspace(workspaceId);
      expect(await exec(WHO)).toBe(IS_APP);
      await sdk.resetWorkspace(workspaceId);
      expect(await exec(`${WHO}; touch mine && stat -c %U . src mine`)).toBe(`${IS_APP}app\napp\napp\n`);
      expect((await cli("run", "box:1")).stdout).toContain("uid=0(root)");
    } finally {
      await writeFile(join(manifests, "box_1.json"), before);
    }
  });
});

describe("a workspace of one program", () => {
  it("has files, diffs, exports, snapshots and services; whatever needs a shell says that there is none", async () => {
    const { workspaceId } = await sdk.createWorkspace({ environment: "single:1", ttlSeconds: 3600 });
    const program = async (...argv: string[]) => {
      const { output } = await sdk.execWorkspace({ workspaceId, argv: ["/app", ...argv] });
      return Buffer.from(output?.stdout.data ?? []).toString();
    };
    try {
      expect(JSON.parse(await program("x"))).toMatchObject({ args: ["x"], cwd: "/workspace", uid: 65532 });
      await program("write", "by-program.txt", "one");
      await sdk.writeWorkspaceFile({ workspaceId, path: "by-pyro.txt", content: "two" });
      await program("write", "by-pyro.txt", "three");
      const { entries } = await sdk.listWorkspaceFiles({ workspaceId });
      expect(entries.map(({ path }) => path)).toEqual([
        "/workspace/by-program.txt",
        "/workspace/by-pyro.txt",
      ]);
      expect(Buffer.from((await sdk.diffWorkspace({ workspaceId })).patch).toString()).toContain("+three");
      const outputPath = join(scratch, "by-program.txt");
      await sdk.exportWorkspace({ workspaceId, path: "by-program.txt", outputPath });
      expect(await readFile(outputPath, "utf8")).toBe("one");
      await sdk.createSnapshot({ workspaceId, snapshotName: "with-both" });
      await sdk.resetWorkspace(workspaceId);
      expect((await sdk.listWorkspaceFiles({ workspaceId })).entries).toEqual([]);
      await sdk.resetWorkspace(workspaceId, { snapshot: "with-both" });
      expect((await sdk.listWorkspaceFiles({ workspaceId })).entries).toHaveLength(2);
      await sdk.startService({ workspaceId, serviceName: "wait", argv: ["/app", "wait"] });
      const none = { code: "NO_SHELL_IN_ENVIRONMENT", hint: expect.stringContaining("argv") as string };
      await expect(sdk.execWorkspace({ workspaceId, command: "ls" })).rejects.toMatchObject(none);
      await expect(sdk.openShell({ workspaceId })).rejects.toMatchObject(none);
      await expect(
        sdk.startService({ workspaceId, serviceName: "line", command: "ls" }),
      ).rejects.toMatchObject(none);
      const shell = await sdk.openShell({ workspaceId, argv: ["/app", "wait"] });
      await sdk.closeShell({ workspaceId, shellId: shell.shellId });
    } finally {
      await sdk.deleteWorkspace(workspaceId);
    }
  });

  it("waits ready in the pool as others do", async () => {
    await using pooled = await testState({ environments: false });
    await addEnvironments(pooled, join(scratch, "single"), {
      "single:1": { ...NOTHING, user: "7:7", entrypoint: ["/app"], cmd: ["write", "/workspace/x"] },
    });
    const options = { stateDir: pooled.path, env: { PYRO_POOL: "1" } };
    expect((await pyro(["run", "single:1"], options)).code).toBe(0);
    await eventually("a machine waits", async () => {
      const status = json(await pyro(["daemon", "status", "--json"], options));
      return status["pooled_vms"] === 1;
    });
    const second = await pyro(["run", "single:1"], options);
    expect(second).toMatchObject({ code: 0, stderr: "" });
  });
});
