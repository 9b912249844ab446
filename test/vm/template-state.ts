import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect } from "vitest";
import { pyro, testState, type TestState } from "./support.js";

/** A state directory for each test of a file, without a template; what tests of templates ask of it. */
export interface TemplateState {
  /** Its path. */
  readonly path: string;
  /** Keys of the templates that are there, sorted. */
  templates(): Promise<string[]>;
  /** Key of the one that has an environment mounted; empty where there is none. */
  mounted(): Promise<string>;
  /** What the daemon wrote of an event, in order. */
  logged(event: string): Promise<Record<string, unknown>[]>;
  /** Standard output of a command in a machine of debian:12, which must succeed. */
  run(...command: string[]): Promise<string>;
}

/** Makes one for each test of the file that calls this. */
export function templateState(): TemplateState {
  let state: TestState;
  beforeEach(async () => {
    state = await testState({ templates: false });
  });
  afterEach(() => state[Symbol.asyncDispose]());
  const directory = (): string => join(state.path, "cache/templates");
  const templates = async (): Promise<string[]> =>
    (await readdir(directory())).filter((name) => name !== "lock").sort();
  return {
    get path() {
      return state.path;
    },
    templates,
    mounted: async () => (await templates()).find((key) => existsSync(join(directory(), key, "layer"))) ?? "",
    logged: async (event) => {
      const lines = (await readFile(join(state.path, "daemon.log"), "utf8")).trim().split("\n");
      return lines
        .map((line) => JSON.parse(line) as Record<string, unknown>)
        .filter((line) => line["event"] === event);
    },
    run: async (...command) => {
      const { code, stdout, stderr } = await pyro(["run", "debian:12", "--", ...command], {
        stateDir: state.path,
      });
      expect({ code, stderr: code === 0 ? "" : stderr }).toEqual({ code: 0, stderr: "" });
      return stdout.toString();
    },
  };
}
