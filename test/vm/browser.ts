import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { eventually, processes } from "./support.js";

/**
 * The DOM of a page of 127.0.0.1 once it is loaded, as headless Chromium on this host has it. It connects to nothing else,
 * and leaves neither process nor file.
 */
export async function dumpDom(url: string): Promise<string> {
  const profile = await mkdtemp(join(tmpdir(), "pyro-browser-"));
  const args = [
    ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"],
    ...["--disable-background-networking", "--disable-component-update", "--no-proxy-server"],
    ...["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", `--user-data-dir=${profile}`],
  ];
  try {
    const { stdout } = await promisify(execFile)("chromium", [...args, "--dump-dom", url], {
      timeout: 120_000,
      killSignal: "SIGKILL",
    });
    return stdout;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    throw new Error("this test needs Chromium: `scripts/setup.sh --for-tests` installs it", { cause: error });
  } finally {
    await eventually("the browser is gone", async () =>
      (await processes()).every(({ line }) => !line.includes(profile)),
    );
    await rm(profile, { recursive: true });
  }
}
