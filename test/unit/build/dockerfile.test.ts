import { describe, expect, it } from "vitest";
import { baseOf, planOf, type Plan } from "../../../src/build/plan.js";
import { readRecipe } from "../../../src/build/recipe-file.js";

const none: ReadonlyMap<string, string> = new Map();

async function plan(text: string, args: Record<string, string> = {}): Promise<Plan & { from: string }> {
  const recipe = await readRecipe({ name: "dir/Dockerfile", text });
  const given = new Map(Object.entries(args));
  return { ...planOf(recipe, undefined, given), from: baseOf(recipe, given) };
}

async function actions(text: string, args: Record<string, string> = {}): Promise<unknown[]> {
  return (await plan(`FROM debian:12\n${text}`, args)).steps.map(({ action }) => action);
}

const run = (line: string, env: string[] = []) => ({ kind: "run", argv: ["/bin/sh", "-c", line], env });
const copy = (sources: string[], destination: string, more: object = {}) => ({
  ...{ kind: "copy", sources, destination, uid: 0, gid: 0 },
  ...more,
});

describe("A Dockerfile", () => {
  it.each<[string, string, unknown[]]>([
    ["a line for the shell", "RUN echo  'a b' # c", [run("echo  'a b' # c")]],
    ["lines that go on", "RUN a && \\\n  # comment\n\n  b \\\n && c", [run("a &&   b  && c")]],
    [
      "words that are run without a shell",
      'RUN ["a", "b \\"c\\" d"]',
      [{ kind: "run", argv: ["a", 'b "c" d'], env: [] }],
    ],
    ["what is no list of words is a line", "RUN [ -f /x ]", [run("[ -f /x ]")]],
    ["another escape", "RUN a \\\n b", [run("a  b")]],
    [
      "variables, old and new form",
      'ENV A=1 B="x y"\nENV C the rest\nRUN a',
      [run("a", ["A=1", "B=x y", "C=the rest"])],
    ],
    [
      "a variable in another",
      "ENV A=1\nENV B=$A-${A}-${X:-d}-${A:+set}\nRUN a",
      [run("a", ["A=1", "B=1-1-d-set"])],
    ],
    ["quotes keep a dollar", "ENV A='$X' B=\\$X\nRUN a", [run("a", ["A=$X", "B=$X"])]],
    ["an argument's default", "ARG V=1\nRUN a", [run("a", ["V=1"])]],
    ["an argument without a value", "ARG V\nRUN a", [run("a")]],
    ["a variable stands over an argument", "ARG V=1\nENV V=2\nRUN a", [run("a", ["V=2"])]],
    ["a copy", "COPY a b/ c", [copy(["a", "b/"], "/c/")]],
    ["a copy's words with spaces", 'COPY ["a b", "c d"]', [copy(["a b"], "/c d")]],
    ["a copy to where it is", "WORKDIR /x\nCOPY a .", [copy(["a"], "/x/")]],
    [
      "a copy with owner and mode",
      "COPY --chown=1000:7 --chmod=755 a b",
      [copy(["a"], "/b", { uid: 1000, gid: 7, mode: 0o755 })],
    ],
    ["a directory that no step makes", "WORKDIR /a\nWORKDIR b/../c", [{ kind: "directory" }]],
    ["lower case", "run a", [run("a")]],
  ])("says %s", async (_, text, expected) => {
    expect(await actions(text)).toEqual(expected);
  });

  it("has its directory and user in force at each step", async () => {
    const { steps } = await plan("FROM x\nRUN a\nWORKDIR /srv\nUSER 0\nRUN b\nWORKDIR c\nRUN d");
    expect(steps.map(({ workingDir, user, place }) => [workingDir, user, place.line])).toEqual([
      ["/", "", 2],
      ["/srv", "0", 5],
      ["/srv/c", "0", 7],
    ]);
  });

  it("takes arguments from its caller, also for FROM", async () => {
    const text = "ARG V=11\nFROM debian:${V} AS base\nARG V\nARG W=w\nRUN a";
    const { from, steps, warnings } = await plan(text, { V: "12", W: "given", X: "1" });
    expect(from).toBe("debian:12");
    expect(steps[0]?.action).toEqual(run("a", ["V=12", "W=given"]));
    expect(warnings).toEqual(["no ARG declares X: it was not used"]);
  });

  it("says what holds for commands in the result, over the base's", async () => {
    const base = { env: ["A=base", "B=base"], user: "u", workingDir: "/w", entrypoint: ["/e"], cmd: ["c"] };
    const of = async (text: string) =>
      planOf(await readRecipe({ name: "Dockerfile", text: `FROM x\n${text}` }), base, none);
    expect((await of("RUN a")).config).toEqual(base);
    expect((await of("ENV A=1\nWORKDIR sub\nUSER root")).config).toEqual({
      ...base,
      ...{ env: ["A=1", "B=base"], workingDir: "/w/sub", user: "root" },
    });
    expect((await of('ENTRYPOINT ["/x"]')).config).toMatchObject({ entrypoint: ["/x"], cmd: [] });
    expect((await of('CMD b\nENTRYPOINT ["/x"]')).config).toMatchObject({ cmd: ["/bin/sh", "-c", "b"] });
    expect((await plan("FROM x\nRUN a")).config).toBeUndefined();
  });

  it("puts PATH together with what commands have without it", async () => {
    const { config } = await plan("FROM x\nENV PATH=/opt/bin:$PATH");
    expect(config?.env).toEqual([
      "PATH=/opt/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ]);
  });

  it("tells what it left out and changes nothing", async () => {
    const { warnings } = await plan('FROM x\nLABEL a=b\nEXPOSE 80\nHEALTHCHECK CMD x\nVOLUME ["/v"]');
    expect(warnings.map((line) => line.split(" ").slice(0, 2).join(" "))).toEqual([
      "Dockerfile:2: LABEL",
      "Dockerfile:3: EXPOSE",
      "Dockerfile:4: HEALTHCHECK",
      "Dockerfile:5: VOLUME",
    ]);
  });

  it.each<[string, number | undefined, RegExp]>([
    ["", undefined, /no FROM/],
    ["RUN a", 1, /RUN stands before FROM/],
    ["FROM a b", 1, /takes one name/],
    ["FROM a\nFROM b", 2, /second FROM/],
    ["FROM --platform=linux/arm64 a", 1, /--platform is not supported/],
    ["FROM a\n\n# c\nADD x y", 4, /"ADD" is not supported/],
    ['FROM a\nSHELL ["x"]', 2, /"SHELL" is not supported/],
    ["FROM a\nONBUILD RUN x", 2, /not supported/],
    ["FROM a\nBOGUS \u001b[2J", 2, /"BOGUS" is not supported/],
    ["FROM a\nRUN", 2, /RUN says nothing/],
    ["FROM a\nRUN --mount=type=cache,target=/x make", 2, /--mount is not supported/],
    ["FROM a\nRUN <<EOF\nx\nEOF", 2, /here-document/],
    ["FROM a\nRUN a \\\n  b\nCOPY --from=x a b", 4, /--from is not supported/],
    ["FROM a\nCOPY a", 2, /at least one source/],
    ["FROM a\nCOPY 'a b", 2, /not closed/],
    ["FROM a\nCOPY --chown=user a b", 2, /not given in numbers/],
    ["FROM a\nUSER $NOT_SET", 2, /USER names nobody/],
    ["FROM a\nCOPY --chmod=u+x a b", 2, /no permission bits/],
    ["FROM a\nCOPY a /run/x", 2, /nothing stays in \/run/],
    ["FROM a\nENV A", 2, /no value/],
    ["FROM a\nENV A=1 b", 2, /no NAME=value/],
    ["FROM a\nENV A=${B", 2, /not closed/],
    ["FROM a\nENV A=${B#x}", 2, /no form of a variable/],
    ["FROM a\nWORKDIR $NONE", 2, /a path is empty/],
  ])("%j is refused with its line", async (text, line, message) => {
    const failed = plan(text);
    await expect(failed).rejects.toMatchObject({
      code: "BUILD_FILE_INVALID",
      message: expect.stringMatching(message) as unknown,
    });
    const place = line === undefined ? "Dockerfile" : `Dockerfile:${line}`;
    await expect(failed).rejects.toMatchObject({
      details: { place },
      hint: expect.stringMatching(/./) as unknown,
    });
    await expect(failed).rejects.toThrow(`${place}: `);
  });

  it("has no more steps than a machine's disk can have layers", async () => {
    const text = `FROM a\n${"RUN a\n".repeat(65)}`;
    await expect(plan(text)).rejects.toMatchObject({ code: "BUILD_LIMIT_EXCEEDED" });
    await expect(plan(`FROM a\n#${"x".repeat(1024 * 1024)}`)).rejects.toMatchObject({
      code: "BUILD_FILE_INVALID",
    });
  });
});
