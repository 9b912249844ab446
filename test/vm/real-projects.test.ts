import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { pyro, testState, type TestState } from "./support.js";

const execute = promisify(execFile);

/** The original sources of Debian source packages, and binary packages, through the host's own apt configuration, as an ordinary user could. */
async function fetchPublished(
  directory: string,
  names: { readonly sources: string[]; readonly packages: string[] },
): Promise<void> {
  const apt = join(directory, "apt");
  for (const name of ["lists/partial", "archives/partial", "parts"])
    await mkdir(join(apt, name), { recursive: true });
  await writeFile(join(apt, "status"), "");
  for (const name of await readdir("/etc/apt/sources.list.d").catch(() => [])) {
    if (!name.endsWith(".sources")) continue;
    const text = await readFile(join("/etc/apt/sources.list.d", name), "utf8");
    if (text.includes("debian"))
      await writeFile(join(apt, "parts", name), text.replace(/^Types: deb$/gm, "Types: deb deb-src"));
  }
  const list = await readFile("/etc/apt/sources.list", "utf8").catch(() => "");
  await writeFile(join(apt, "sources.list"), list.replace(/^deb (.*)$/gm, "deb $1\ndeb-src $1"));
  const options = [
    `Dir::State=${apt}`,
    `Dir::State::lists=${apt}/lists`,
    `Dir::State::status=${apt}/status`,
    `Dir::Cache=${apt}`,
    `Dir::Etc::sourcelist=${apt}/sources.list`,
    `Dir::Etc::sourceparts=${apt}/parts`,
    "APT::Sandbox::User=root",
  ].flatMap((option) => ["-o", option]);
  const run = (...args: string[]) =>
    execute("apt-get", [...options, ...args], { cwd: directory, timeout: 240_000 });
  await run("update", "-qq");
  await run("source", "--download-only", "-qq", ...names.sources);
  await run("download", "-qq", ...names.packages);
}

describe("published projects", () => {
  let state: TestState;
  let sources: string;
  beforeAll(async () => {
    state = await testState();
    sources = await mkdtemp(join(tmpdir(), "pyro-sources-"));
    await fetchPublished(sources, { sources: ["zlib"], packages: ["python3-pyflakes"] });
  });
  afterAll(async () => {
    await rm(sources, { recursive: true, force: true });
    await state[Symbol.asyncDispose]();
  });

  /** Sends the files in as a tar on standard input, unpacks it and runs the script beside them. */
  const runWith = async (environment: string, pattern: RegExp, script: string) => {
    const files = (await readdir(sources)).filter((file) => pattern.test(file));
    const { stdout: input } = await execute("tar", ["c", "-C", sources, ...files], {
      encoding: "buffer",
      maxBuffer: 64 << 20,
    });
    const args = ["run", environment, "--timeout-seconds", "900", "--", "sh", "-ec", `tar x; ${script}`];
    return await pyro(args, { stateDir: state.path, input });
  };

  it(
    "zlib is built from source and passes its own tests in debian:12-build",
    { timeout: 900_000 },
    async () => {
      const script = "tar xf zlib_*.orig.tar.*; cd ./*/; ./configure; make; make test";
      const { code, stdout, stderr } = await runWith("debian:12-build", /^zlib_.*\.orig\.tar\./, script);
      expect({ code, stderr: code === 0 ? "" : stderr.slice(-2000) }).toEqual({ code: 0, stderr: "" });
      expect(stdout.toString()).toMatch(/\*\*\* zlib test OK \*\*\*/);
      expect(stdout.toString()).not.toMatch(/FAILED/);
    },
  );

  it("pyflakes, pure Python, passes its own test suite in debian:12", { timeout: 600_000 }, async () => {
    const script =
      "dpkg-deb -x python3-pyflakes_*.deb .; cd usr/lib/python3/dist-packages; mkdir bin; echo 'from pyflakes.api import main; main()' > bin/pyflakes; python3 -m unittest discover -t . -s pyflakes/test";
    const { code, stderr } = await runWith("debian:12", /^python3-pyflakes_/, script);
    expect(code, stderr.slice(-3000)).toBe(0);
    expect(stderr).toMatch(/Ran [1-9]\d+ tests in[\s\S]*OK/);
  });
});
