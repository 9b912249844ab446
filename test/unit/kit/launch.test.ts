import { closeSync, existsSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { baseEnvironment, complete, launch, LaunchError } from "../../../src/kit/index.js";
import { temporaryState } from "../../fakes/state-directory.js";

const alive = (pid: number): boolean => {
  if (!existsSync(`/proc/${pid}`)) return false;
  return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
};

async function read(stream: NodeJS.ReadableStream | null): Promise<string> {
  let text = "";
  for await (const chunk of stream ?? []) text += String(chunk);
  return text;
}

describe("launch", () => {
  test("gives exit code, standard output and the end of standard error", async () => {
    await using child = await launch("sh", ["-c", "echo out; echo err >&2; exit 3"], { stdout: "pipe" });
    expect(await read(child.stdout)).toBe("out\n");
    expect(await child.exited).toEqual({ code: 3, signal: null, stderrTail: "err\n" });
  });

  test("runs an argv, never a shell", async () => {
    const { stdout } = await complete("printf", ["%s", "$HOME; `id` && *"]);
    expect(stdout).toBe("$HOME; `id` && *");
  });

  test("feeds standard input", async () => {
    await using child = await launch("cat", [], { stdin: "pipe", stdout: "pipe" });
    child.stdin?.end("hi");
    expect(await read(child.stdout)).toBe("hi");
  });

  test("gives the child PATH, HOME and LANG only, unless it is told others", async () => {
    process.env["CANARY_VARIABLE"] = "seen";
    const plain = await complete("env", []);
    const given = await complete("env", [], { env: { ...baseEnvironment(), ONLY: "this" } });
    delete process.env["CANARY_VARIABLE"];
    expect(plain.stdout).not.toContain("CANARY");
    expect(given.stdout).toContain("ONLY=this");
    expect(baseEnvironment()["PATH"]).toContain("/usr/sbin");
  });

  test("hands on descriptors from 3 up", async () => {
    await using state = await temporaryState();
    const fd = openSync(join(state.path, "file"), "w");
    await complete("sh", ["-c", "echo three >&3"], { extraDescriptors: [fd] });
    closeSync(fd);
    expect(readFileSync(join(state.path, "file"), "utf8")).toBe("three\n");
  });

  test("keeps only the end of a long standard error", async () => {
    const { stderrTail } = await complete("sh", [
      "-c",
      "head -c 100000 /dev/zero | tr '\\0' x >&2; echo end >&2",
    ]);
    expect(stderrTail.length).toBeLessThanOrEqual(16 * 1024);
    expect(stderrTail.endsWith("xend\n")).toBe(true);
  });

  test("closing ends the whole group, by force where it must, and may be done twice", async () => {
    const script = "trap '' TERM; sleep 100 & echo $!; wait; sleep 100";
    const child = await launch("sh", ["-c", script], { stdout: "pipe", graceMs: 50 });
    const line = await new Promise((resolve) => child.stdout?.once("data", resolve));
    const grandchild = Number(line);
    expect(alive(grandchild)).toBe(true);
    const [first, second] = await Promise.all([child.close(), child.close()]);
    expect(first).toEqual(second);
    expect(first.signal).toBe("SIGKILL");
    await expect.poll(() => alive(grandchild)).toBe(false);
    expect(alive(child.pid)).toBe(false);
  });

  test("closing with no grace kills at once", async () => {
    const child = await launch("sleep", ["100"], { graceMs: 0 });
    expect((await child.close()).signal).toBe("SIGKILL");
    expect(child.signal("SIGTERM")).toBe(false);
  });

  test("a child in the foreground stays in our process group", async () => {
    const group = (pid: number | string): string =>
      readFileSync(`/proc/${pid}/stat`, "utf8")
        .replace(/^.*\) /s, "")
        .split(" ")[2] ?? "";
    await using near = await launch("sleep", ["100"], { foreground: true, graceMs: 0 });
    await using apart = await launch("sleep", ["100"], { graceMs: 0 });
    expect(group(near.pid)).toBe(group("self"));
    expect(group(apart.pid)).toBe(String(apart.pid));
    expect((await near.close()).signal).toBe("SIGKILL");
  });

  test.each([
    ["a program that is missing", "/no/such/program", {}, "ENOENT"],
    ["a file that is no program", "/etc/passwd", {}, "EACCES"],
    ["a directory that is missing", "true", { cwd: "/no/such/directory" }, "ENOENT"],
  ])("%s is a LaunchError with the system's code", async (_, program, options, code) => {
    const failure = await launch(program, [], options).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(LaunchError);
    expect(failure).toMatchObject({ program, code });
  });

  test("an argument with a NUL byte is refused, not cut", async () => {
    await expect(launch("true", ["a\0b"])).rejects.toBeInstanceOf(LaunchError);
  });
});

describe("complete", () => {
  test("keeps at most the given bytes of the output", async () => {
    const { stdout, code } = await complete("sh", ["-c", "head -c 10000 /dev/zero | tr '\\0' x"], {
      maxBytes: 10,
    });
    expect({ stdout, code }).toEqual({ stdout: "xxxxxxxxxx", code: 0 });
  });

  test("an abort ends the program and rejects with the reason", async () => {
    const controller = new AbortController();
    const running = complete("sleep", ["100"], { signal: controller.signal, graceMs: 0 });
    setTimeout(() => controller.abort(new Error("enough")), 50);
    await expect(running).rejects.toThrow("enough");
    await expect(complete("true", [], { signal: AbortSignal.abort(new Error("before")) })).rejects.toThrow(
      "before",
    );
  });
});
