import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import * as z from "zod";
import {
  allDeclarations,
  CURATED_ENVIRONMENTS,
  GROUPS,
  isOperation,
  toolsOf,
} from "../../../src/operations/index.js";

const ROOT = join(import.meta.dirname, "../../..");

test("the operations, their commands, kinds and profiles are these", async () => {
  const table = (await allDeclarations()).map(({ name, command, kind, profiles }) =>
    [name, command.join(" "), kind, profiles.join(",")].join(" | ").trim(),
  );
  expect(table).toMatchSnapshot();
});

test("a group with one command repeats its summary", async () => {
  for (const group of GROUPS) {
    const declarations = await group.load();
    const word = group.commandless === true ? undefined : group.word;
    expect(declarations.every(({ command }) => command[0] === word)).toBe(true);
    if (declarations.length === 1 && declarations[0]?.command.length === 1) {
      expect(declarations[0].summary).toBe(group.summary);
    }
  }
});

test("a group that a server does not load has no tools", async () => {
  const groups = GROUPS.filter(({ toolless }) => toolless === true);
  const declarations = (await Promise.all(groups.map((group) => group.load()))).flat();
  expect(declarations.flatMap(({ profiles }) => profiles)).toEqual([]);
});

test("every field of every input is described and bounded, and unknown ones are refused", async () => {
  for (const declaration of await allDeclarations()) {
    const schema = z.toJSONSchema(declaration.input, { io: "input" });
    expect(schema.additionalProperties, declaration.name).toBe(false);
    for (const [name, property] of Object.entries(schema.properties ?? {})) {
      const where = `${declaration.name}.${name}`;
      if (typeof property === "boolean") throw new Error(where);
      expect(property.description, where).toBeTruthy();
      if (property.type === "integer") {
        expect(property.minimum, where).toBeTypeOf("number");
        expect(property.maximum, where).toBeTypeOf("number");
      }
    }
  }
});

test("every example is a command line of the operation it belongs to, or a call where it has none", async () => {
  for (const { name, command: words, examples } of await allDeclarations()) {
    expect(examples.length, name).toBeGreaterThan(0);
    const [group = "", verb = ""] = name.split("_");
    const calls =
      words.length > 0
        ? `pyro ${words.join(" ")}`
        : new RegExp(`^(${name}\\(|await pyro\\.${verb}.*${group})`, "i");
    for (const { command } of examples) expect(command).toEqual(expect.stringMatching(calls));
  }
});

test("a record operation has what all faces need", async () => {
  const operations = (await allDeclarations()).filter(isOperation);
  expect(operations.map(({ name }) => name)).toContain("env_list");
  expect((await toolsOf("vm-run")).map(({ name }) => name)).toEqual(["vm_run"]);
});

test("the curated environments of the help texts are those of the catalogue", async () => {
  const { environments } = JSON.parse(await readFile(join(ROOT, "environments/catalogue.json"), "utf8")) as {
    environments: string[];
  };
  const names = await Promise.all(
    environments.map(async (file) => {
      const entry = JSON.parse(await readFile(join(ROOT, "environments", file), "utf8")) as { name: string };
      return entry.name;
    }),
  );
  expect(CURATED_ENVIRONMENTS.map(({ name }) => name).sort()).toEqual(names.sort());
});
