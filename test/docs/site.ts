import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";
import { promisify } from "node:util";

const DOCS = join(import.meta.dirname, "../../docs");
const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".json": "application/json",
  ".svg": "image/svg+xml",
};

/** The site of docs/, built and served on the loopback. */
export interface Site extends AsyncDisposable {
  /** Without a slash at its end. */
  readonly origin: string;
  /** Paths of all pages, such as "/errors/DISK_FULL.html". */
  readonly pages: readonly string[];
  /** What was asked for and is not there. */
  readonly missing: readonly string[];
}

/** Builds the site into a directory of its own: a link that leads nowhere rejects. */
export async function openSite(): Promise<Site> {
  const vitepress = join(DOCS, "node_modules/.bin/vitepress");
  if (!existsSync(vitepress)) throw new Error("the site's packages are missing: `make docs` installs them");
  const out = await mkdtemp(join(tmpdir(), "pyro-docs-site-"));
  await promisify(execFile)(process.execPath, [vitepress, "build", ".", "--outDir", out], {
    cwd: DOCS,
    maxBuffer: 16 << 20,
  });
  const missing: string[] = [];
  const server = createServer((request, response) => {
    const path = normalize(new URL(request.url ?? "/", "http://127.0.0.1").pathname);
    const file = join(out, path.endsWith("/") ? `${path}index.html` : path);
    readFile(file).then(
      (bytes) =>
        response.setHeader("content-type", TYPES[extname(file)] ?? "application/octet-stream").end(bytes),
      () => {
        missing.push(path);
        response.writeHead(404).end();
      },
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const names = await readdir(out, { recursive: true });
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    pages: names
      .filter((name) => name.endsWith(".html") && name !== "404.html")
      .sort()
      .map((name) => `/${name}`),
    missing,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await rm(out, { recursive: true });
    },
  };
}
