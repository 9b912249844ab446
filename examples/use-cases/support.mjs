// What the five examples have in common: a checkout that stands for yours, a client of pyro, and the proof at the end
// that nothing of either was touched or left behind.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, lstatSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Pyro } from "pyro-mcp";

const { values: options } = parseArgs({
  options: {
    /** Where pyro keeps its state; default: the user's own. */
    "state-dir": { type: "string" },
    /** Of repro-fix-loop: the project. */
    project: { type: "string" },
  },
});
export const { project: chosenProject } = options;

/**
 * The environment that USE_CASE_ENVIRONMENT names, debian:12 unless it does. What needs a compiler gets debian:12-build
 * in the place of debian:12, which has none.
 */
export function environment({ compiler = false } = {}) {
  const named = process.env.USE_CASE_ENVIRONMENT || "debian:12";
  return compiler && named === "debian:12" ? "debian:12-build" : named;
}

/**
 * Plays a use case in a checkout of one of the projects, with `prepare` beforehand to change it. Every workspace that
 * `create` made is gone afterwards, also where the play fails.
 */
export async function useCase(name, { project, include, prepare = () => {} }, play) {
  const checkout = checkoutOf(project, prepare);
  const before = fingerprint(checkout);
  const pyro = new Pyro({ stateDir: options["state-dir"] });
  const made = [];
  const create = async (workspace) => {
    const created = await pyro.createWorkspace({
      source: { kind: "project", path: checkout, include },
      ...workspace,
    });
    made.push(created.workspaceId);
    return created;
  };
  say(`== ${name}, with the project ${project}`);
  try {
    await play({ pyro, checkout, create, exec: (workspaceId, command) => exec(pyro, workspaceId, command) });
    expect(fingerprint(checkout) === before, "the checkout has changed");
    say("your checkout: unchanged");
  } finally {
    for (const workspaceId of made)
      await pyro.deleteWorkspace(workspaceId).catch((error) => {
        if (error.code !== "WORKSPACE_NOT_FOUND") throw error;
      });
    await pyro[Symbol.asyncDispose]();
    rmSync(checkout, { recursive: true, force: true });
  }
}

/** Runs a shell line in a workspace, and says what a user would see of it: its last lines, and how it ended. */
async function exec(pyro, workspaceId, command) {
  const { result, output } = await pyro.execWorkspace({ workspaceId, command });
  const text = Buffer.concat([output.head, output.tail]).toString();
  say(`$ ${command}`);
  for (const line of text.trimEnd().split("\n").slice(-8)) say(`  ${line}`);
  say(`exit ${result.exitCode ?? result.signal}`);
  return { exitCode: result.exitCode, text };
}

export function say(line) {
  process.stdout.write(`${line.trimEnd()}\n`);
}

export function sayCreated({ name, environment, state }) {
  say(`workspace ${name}: ${environment}, ${state}`);
}

/** Ends the example where what it shows does not hold. */
export function expect(holds, otherwise) {
  if (!holds) throw new Error(otherwise);
}

/** A Git checkout with the project's files, all committed, as a user has one. */
function checkoutOf(project, prepare) {
  const path = mkdtempSync(join(tmpdir(), `pyro-${project}-`));
  cpSync(new URL(`projects/${project}`, import.meta.url), path, { recursive: true });
  prepare(path);
  const git = (...args) => execFileSync("git", args, { cwd: path });
  git("init", "-q", "-b", "trunk");
  git("add", ".");
  git("-c", "user.name=you", "-c", "user.email=you@example.org", "commit", "-qm", "as it was received");
  return path;
}

/** One hash of everything below a directory: names, modes, contents, and where links lead. */
function fingerprint(root) {
  const hash = createHash("sha256");
  for (const name of readdirSync(root, { recursive: true }).sort()) {
    const path = join(root, name);
    const info = lstatSync(path);
    const content = info.isFile() ? readFileSync(path) : info.isSymbolicLink() ? readlinkSync(path) : "";
    hash.update(`${name}\0${info.mode}\0`).update(content).update("\0");
  }
  return hash.digest("hex");
}
