import { rm, stat } from "node:fs/promises";
import { allocatedBytes } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";
import { imagePath } from "./layout.js";
import type { EnvironmentStore } from "./store.js";

export interface DeleteOptions {
  /** Who uses an image, for people; nobody may use the one that goes. */
  readonly users: (digest: string) => readonly string[];
  /** Names of environments that are being pulled. */
  readonly pulling: ReadonlySet<string>;
}

/** More of them are only counted. */
const SHOWN_USERS = 5;

/**
 * Removes one environment by its name, whatever it was made from. Its image goes with it, unless another environment has the
 * same.
 * @throws {PyroError} UNKNOWN_ENVIRONMENT, ENVIRONMENT_NOT_PULLED, ENVIRONMENT_IN_USE, ENVIRONMENT_BUSY
 */
export async function deleteEnvironment(
  store: EnvironmentStore,
  text: string,
  { users, pulling }: DeleteOptions,
): Promise<{ readonly name: string; readonly freedBytes: number }> {
  const { name } = await store.nameOf(text);
  const manifest = await store.manifest(name);
  if (pulling.has(name)) {
    throw new PyroError("ENVIRONMENT_BUSY", `environment "${name}" is being pulled`, {
      hint: "wait for it, or end it",
      retryable: true,
    });
  }
  if (manifest === undefined) {
    throw new PyroError("ENVIRONMENT_NOT_PULLED", `environment "${name}" is not on this host`, {
      hint: "there is nothing to delete; `pyro env list` shows what there is",
      details: { environment: name },
    });
  }
  const { digest } = manifest;
  const isShared = async (): Promise<boolean> =>
    (await store.manifests()).some((other) => other.name !== name && other.digest === digest);
  if (!(await isShared())) refuseUsed(name, users(digest));
  await store.removeManifest(name);
  // Whoever began to use it meanwhile keeps the file; a later prune removes it.
  if ((await isShared()) || users(digest).length > 0) return { name, freedBytes: 0 };
  const path = imagePath(store.layout, digest);
  const freedBytes = await stat(path).then(allocatedBytes, () => 0);
  await rm(path, { force: true });
  return { name, freedBytes };
}

function refuseUsed(name: string, users: readonly string[]): void {
  if (users.length === 0) return;
  const more = users.length > SHOWN_USERS ? ` and ${users.length - SHOWN_USERS} more` : "";
  throw new PyroError(
    "ENVIRONMENT_IN_USE",
    `environment "${name}" is used by ${users.slice(0, SHOWN_USERS).join(", ")}${more}`,
    {
      hint: "delete what uses it first: `pyro workspace delete ID`",
      details: { environment: name, users: users.slice(0, SHOWN_USERS), count: users.length },
    },
  );
}
