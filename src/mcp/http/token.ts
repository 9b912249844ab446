import { randomBytes } from "node:crypto";
import { chmod, link, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { directoriesFor, freshId } from "../../kit/index.js";
import { prepareStateDirectory } from "../../sdk/index.js";

const FILE = "mcp-http-token";

/**
 * The token of this user's servers over HTTP. It is made by the first, and stays, so that a client's configuration stays
 * good; whoever removes the file has another one from the next start on.
 * @throws {PyroError} STATE_NOT_PRIVATE, STATE_NOT_WRITABLE
 */
export async function httpToken(
  stateDir?: string,
): Promise<{ readonly token: string; readonly path: string }> {
  const { state } = directoriesFor(stateDir);
  await prepareStateDirectory(state);
  const path = join(state, FILE);
  const token = (await readToken(path)) ?? (await makeToken(path));
  return { token, path };
}

async function readToken(path: string): Promise<string | undefined> {
  try {
    // Whoever copied it about may have opened it to others.
    await chmod(path, 0o600);
    return (await readFile(path, "utf8")).trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

async function makeToken(path: string): Promise<string> {
  const fresh = `${path}.${freshId("new")}`;
  try {
    await writeFile(fresh, `${randomBytes(32).toString("base64url")}\n`, {
      flag: "wx",
      mode: 0o600,
      flush: true,
    });
    // Two servers that start at once agree on one.
    await link(fresh, path).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    });
  } finally {
    await rm(fresh, { force: true });
  }
  return (await readFile(path, "utf8")).trim();
}
