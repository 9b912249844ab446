import { join } from "node:path";
import type { RemoteServer } from "../../chat-hosts/index.js";
import { exists, tokenOfFile } from "../../kit/index.js";
import { PyroError } from "../../protocol/index.js";
import type { OperationContext } from "../operation.js";

/** Where `pyro mcp serve --http` keeps the token that it made. */
const TOKEN_FILE = "mcp-http-token";

interface Given {
  readonly url?: string | undefined;
  readonly token_file?: string | undefined;
}

/**
 * The server that --url names, without its token; undefined without --url.
 * @throws {PyroError} INVALID_ARGUMENT
 */
export async function remotePlace(
  { url, token_file: file }: Given,
  { pyro, hostPath }: Pick<OperationContext, "pyro" | "hostPath">,
): Promise<Omit<RemoteServer, "token"> | undefined> {
  if (url === undefined) return undefined;
  const tokenFile = file === undefined ? join(pyro.stateDir, TOKEN_FILE) : await hostPath(file);
  // OpenCode is given the place in braces.
  if (/[{}\n]/.test(tokenFile)) {
    throw new PyroError(
      "INVALID_ARGUMENT",
      `--token-file ${JSON.stringify(tokenFile)} has braces or lines in it`,
      {
        hint: "give the file another name",
      },
    );
  }
  return { url: serverUrl(url), tokenFile };
}

/**
 * The same with the token.
 * @throws {PyroError} INVALID_ARGUMENT
 */
export async function remoteServer(
  given: Given,
  context: Pick<OperationContext, "pyro" | "hostPath">,
): Promise<RemoteServer | undefined> {
  const place = await remotePlace(given, context);
  if (place === undefined) return undefined;
  if (given.token_file === undefined && !(await exists(place.tokenFile))) {
    throw new PyroError(
      "INVALID_ARGUMENT",
      `there is no token of a server of yours yet (${place.tokenFile})`,
      {
        hint: "start it first: `pyro mcp serve --http 8765`; for one elsewhere, name a file with its token: `--token-file FILE`",
      },
    );
  }
  return { ...place, token: await tokenOfFile(place.tokenFile) };
}

function serverUrl(given: string): string {
  const url = URL.canParse(given) ? new URL(given) : undefined;
  const bad = (says: string): PyroError =>
    new PyroError("INVALID_ARGUMENT", `--url ${says}`, {
      hint: "give what the server said, for example `--url http://127.0.0.1:8765/mcp`",
    });
  if (url === undefined || !/^https?:$/.test(url.protocol)) throw bad("takes an address of HTTP");
  if (url.username !== "" || url.password !== "") throw bad("takes no name and no password");
  if (url.pathname === "/") throw bad("takes the whole address, with /mcp");
  return url.href;
}
