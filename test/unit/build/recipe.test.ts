import { describe, expect, it } from "vitest";
import { baseOf, planOf, type Plan } from "../../../src/build/plan.js";
import { readRecipe, recipeOf } from "../../../src/build/recipe-file.js";

async function plan(name: string, text: string): Promise<Plan> {
  return planOf(await readRecipe({ name, text }), undefined, new Map());
}

const TOML = `
from = "debian:12"
cmd = ["serve"]
[[step]]
env = { A = "$B" }
[[step]]
workdir = "/app"
[[step]]
copy = "src:/app/src"
chmod = "644"
[[step]]
run = "make"
[[step]]
run = ["make", "install"]
`;

describe("A recipe", () => {
  it("says in TOML and in JSON what a Dockerfile says, each text as it is", async () => {
    const expected = {
      steps: [
        { action: { kind: "copy", sources: ["src"], destination: "/app/src", uid: 0, gid: 0, mode: 0o644 } },
        { action: { kind: "run", argv: ["/bin/sh", "-c", "make"], env: ["A=$B"] }, workingDir: "/app" },
        { action: { kind: "run", argv: ["make", "install"] }, place: { text: "r.toml, step 5" } },
      ],
      config: { env: ["A=$B"], workingDir: "/app", cmd: ["serve"] },
    };
    expect(await plan("x/r.toml", TOML)).toMatchObject(expected);
    const json = {
      from: "debian:12",
      cmd: ["serve"],
      step: [
        { env: { A: "$B" } },
        { workdir: "/app" },
        { copy: "src:/app/src", chmod: "644" },
        { run: "make" },
        { run: ["make", "install"] },
      ],
    };
    const fromJson = await plan("r.json", JSON.stringify(json));
    expect(fromJson.steps.map(({ action }) => action)).toEqual(
      (await plan("r.toml", TOML)).steps.map(({ action }) => action),
    );
  });

  it.each([
    ["r.toml", "from = ", /r\.toml:1: /],
    ["r.toml", 'from = "a"\nstep = 1', /step: /],
    ["r.toml", 'fro = "a"', /from/],
    [
      "r.toml",
      'from = "a"\n[[step]]\nrun = "a"\n[[step]]\nrun = "a"\nuser = "b"',
      /step 2: it is not understood/,
    ],
    ["r.json", '{"from":"a","step":[{"copy":"a"}]}', /no SOURCE:DESTINATION/],
    ["r.json", '{"from":"a","step":[{"env":{"":"a"}}]}', /no name of a variable/],
    ["r.json", "{", /r\.json: /],
  ])("%s: %j is refused", async (name, text, message) => {
    await expect(plan(name, text)).rejects.toMatchObject({
      code: "BUILD_FILE_INVALID",
      message: expect.stringMatching(message) as unknown,
    });
  });

  it("of options does variables, then copies, then commands", () => {
    const recipe = recipeOf({ from: "debian:12", run: ["b", "c"], copy: ["a:/a"], env: ["X=1=2"] });
    const { steps, config } = planOf(recipe, undefined, new Map());
    expect(baseOf(recipe, new Map())).toBe("debian:12");
    expect(steps.map(({ place }) => place.text)).toEqual(["--copy 1", "--run 1", "--run 2"]);
    expect(steps[1]?.action).toMatchObject({ env: ["X=1=2"] });
    expect(config?.env).toEqual(["X=1=2"]);
    expect(() => recipeOf({ from: "", run: [], copy: [], env: [] })).toThrow("neither an environment");
  });
});
