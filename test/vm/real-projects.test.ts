import { execFile } from "node:child_process";
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fingerprint, makeMessy } from "../smoke/messy-checkout.js";
import { fetchDebian } from "../smoke/published.js";
import { pyro, testState, type TestState } from "./support.js";

const execute = promisify(execFile);

describe("published projects", () => {
  let state: TestState;
  let sources: string;
  beforeAll(async () => {
    state = await testState();
    sources = await mkdtemp(join(tmpdir(), "pyro-sources-"));
    await fetchDebian(sources, { sources: ["zlib"], packages: ["python3-pyflakes"] });
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

  it(
    "names one by one what the user of a messy checkout cannot read, then what it leaves out",
    { timeout: 300_000 },
    async () => {
      // Root reads everything.
      const uid = process.getuid?.() === 0 ? 65_534 : undefined;
      const as = uid === undefined ? {} : { uid };
      const home = await mkdtemp(join(tmpdir(), "pyro-messy-"));
      const own = await testState();
      const create = async () => {
        const options = { stateDir: own.path, env: { HOME: home, XDG_RUNTIME_DIR: home }, ...as };
        const seed = ["--name", "messy", "--seed-path", join(home, "checkout")];
        return await pyro(["workspace", "create", "debian:12", ...seed], options);
      };
      try {
        await mkdir(join(home, "checkout"));
        await writeFile(join(home, "checkout/README"), "a project\n");
        await makeMessy(join(home, "checkout"), "README");
        if (uid !== undefined) await execute("chown", ["-R", `${uid}:${uid}`, home, own.path]);

        const named = new Set<string>();
        for (const name of ["private.key", "postgres-data"]) {
          const { code, stderr } = await create();
          expect(code, name).not.toBe(0);
          const [, denied = ""] = /^SEED_UNREADABLE: cannot read "([^"]+)": EACCES$/m.exec(stderr) ?? [];
          expect(stderr).toMatch(/^hint: make it readable for this user, for example `chmod -R u\+rX`/m);
          named.add(denied);
          await chmod(join(home, "checkout", denied), denied === "postgres-data" ? 0o700 : 0o400);
        }
        expect([...named].sort()).toEqual(["postgres-data", "private.key"]);

        const before = await fingerprint(join(home, "checkout"));
        const { code, stdout, stderr } = await create();
        expect(code, stderr).toBe(0);
        expect(stdout.toString()).toContain('warning: left out "a-fifo": it is a FIFO\n');
        expect(stdout.toString().match(/left out/g)).toHaveLength(1);
        expect(await fingerprint(join(home, "checkout"))).toEqual(before);
      } finally {
        await pyro(["workspace", "delete", "messy"], { stateDir: own.path, ...as });
        await own[Symbol.asyncDispose]();
        await rm(home, { recursive: true, force: true });
      }
    },
  );
});
