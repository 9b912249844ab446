import { describe, expect, it } from "vitest";
import { resolveCommand, terminalEnvironment } from "../../../src/workspace/command-line.js";
import type { EnvironmentConfig } from "../../../src/workspace/index.js";
import { resolveOneShot } from "../../../src/workspace/one-shot-command.js";

const words = (...list: string[]): Uint8Array[] => list.map((word) => Buffer.from(word));
const text = (list: readonly Uint8Array[]): string[] => list.map((word) => Buffer.from(word).toString());
const resolve = (argv: Uint8Array[], command = "", env: Uint8Array[] = []) =>
  resolveCommand({ argv, command, env });

describe("resolveCommand", () => {
  it("runs a line by a login shell and an argv as it is", () => {
    expect(text(resolve([], "ls | wc").argv)).toEqual(["/bin/sh", "-lc", "ls | wc"]);
    expect(text(resolve(words("ls", "-l")).argv)).toEqual(["ls", "-l"]);
  });

  it("wants exactly one of them", () => {
    expect(() => resolve([])).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    expect(() => resolve(words("a"), "b")).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });

  it("lets the caller's variables win over the defaults, the last one of a name over the first", () => {
    const env = text(resolve(words("env"), "", words("HOME=/h", "A=1", "A=2=3")).env);
    expect(env).toContain("HOME=/h");
    expect(env).toContain("A=2=3");
    expect(env).not.toContain("A=1");
    expect(env.filter((entry) => entry.startsWith("HOME="))).toHaveLength(1);
  });

  it.each(["=x", "", "novalue"])("refuses the environment entry %j", (entry) => {
    expect(() => resolve(words("env"), "", words(entry))).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }),
    );
  });

  it("keeps arguments that are not UTF-8", () => {
    const odd = Uint8Array.of(0x66, 0xff, 0xfe);
    expect(resolve([...words("printf"), odd]).argv[1]).toEqual(odd);
  });

  it("refuses an empty command name and NUL bytes", () => {
    expect(() => resolve(words(""))).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    expect(() => resolve(words("a", "b\0c"))).toThrow(/NUL/);
  });

  it("takes an argument of 131,071 bytes and refuses one of 131,072, naming both figures", () => {
    expect(resolve(words("true", "x".repeat(131_071))).argv).toHaveLength(2);
    expect(() => resolve(words("true", "x".repeat(131_072)))).toThrow(/131072 bytes; .* below 131072/);
  });

  it("bounds the sum and the number of arguments", () => {
    const many = words(...Array<string>(20).fill("x".repeat(131_000)));
    expect(() => resolve(many)).toThrow(expect.objectContaining({ code: "ARGUMENT_TOO_LARGE" }));
    const count = words(...Array<string>(100_001).fill("x"));
    expect(() => resolve(count)).toThrow(expect.objectContaining({ code: "ARGUMENT_TOO_LARGE" }));
  });
});

describe("an environment with a configuration", () => {
  const config: EnvironmentConfig = {
    ...{ env: ["PATH=/opt/app/bin:/bin", "MODE=image", "MODE=last", "LANG=de_DE.UTF-8"], user: "app:staff" },
    ...{ workingDir: "/srv/app", entrypoint: ["/entry"], cmd: ["serve"] },
  };
  const asked = { argv: words("env"), command: "", env: words("MODE=caller") };

  it("has its variables below the caller's and above ours; the machine says who root's are not", () => {
    const resolved = resolveCommand(asked, config);
    expect(text(resolved.env)).toEqual([
      "PATH=/opt/app/bin:/bin",
      "LANG=de_DE.UTF-8",
      "TERM=dumb",
      "MODE=caller",
    ]);
    expect(resolved.user).toBe("app:staff");
    expect(text(resolveCommand({ ...asked, env: [] }, config).env)).toContain("MODE=last");
    expect(text(terminalEnvironment(words("A=b"), config))).toEqual([
      "PATH=/opt/app/bin:/bin",
      "LANG=de_DE.UTF-8",
      "TERM=xterm-256color",
      "MODE=last",
      "A=b",
    ]);
  });

  it("names root by number where it names nobody, so that the machine finds out root's home", () => {
    const { user, env } = resolveCommand(asked, { ...config, env: [], user: "" });
    expect(user).toBe("0");
    expect(text(env).map((entry) => entry.split("=")[0])).toEqual(["PATH", "LANG", "TERM", "MODE"]);
  });

  it("without one is as it was", () => {
    const resolved = resolveCommand(asked);
    expect(resolved).not.toHaveProperty("user");
    expect(text(resolved.env)).toContain("HOME=/root");
  });

  it("that has a PATH keeps it: no profile is read by a line", () => {
    const line = { argv: [], command: "ls", env: [] };
    expect(text(resolveCommand(line, config).argv)).toEqual(["/bin/sh", "-c", "ls"]);
    expect(text(resolveCommand(line, { ...config, env: ["A=b"] }).argv)).toEqual(["/bin/sh", "-lc", "ls"]);
  });

  it("whose variables do not fit beside the caller's is refused as theirs would be", () => {
    const env = Array.from({ length: 20 }, (_, index) => `V${index}=${"x".repeat(131_000)}`);
    expect(() => resolveCommand(asked, { ...config, env })).toThrow(
      expect.objectContaining({ code: "ARGUMENT_TOO_LARGE" }),
    );
  });

  it("runs its own command where none is given, and a given one without its entrypoint", () => {
    const none = { environment: "app:1", argv: [], command: "", env: [] };
    expect(text(resolveOneShot(none, config).argv)).toEqual(["/entry", "serve"]);
    expect(text(resolveOneShot({ ...none, argv: words("ls") }, config).argv)).toEqual(["ls"]);
    expect(text(resolveOneShot({ ...none, command: "ls" }, config).argv)).toEqual(["/bin/sh", "-c", "ls"]);
    expect(text(resolveOneShot(none, { ...config, entrypoint: [] }).argv)).toEqual(["serve"]);
    for (const silent of [undefined, { ...config, entrypoint: [], cmd: [] }]) {
      expect(() => resolveOneShot(none, silent)).toThrow(
        expect.objectContaining({
          code: "COMMAND_REQUIRED",
          hint: expect.stringContaining("app:1 -- ") as string,
        }),
      );
    }
  });

  it.each([
    ["/srv/app", "/srv/app", true],
    ["srv/app", "/srv/app", true],
    ["/", "/", true],
    ["", "/workspace", false],
  ])("starts a one-shot in its working directory %j: %s, made: %s", (workingDir, cwd, makeCwd) => {
    const request = { ...asked, environment: "app:1" };
    expect(resolveOneShot(request, { ...config, workingDir })).toMatchObject({ cwd, makeCwd });
  });
});
