import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { CountingProxy, isRunning, startRegistry, type RealRegistry } from "../registry/real-registry.js";
import { violations } from "./invariants.js";
import { debianTar, homeWith, hostSources } from "./registry-images.js";
import { eventually, json, machinesOf, pyro, testState, type RunOptions, type TestState } from "./support.js";

const NAME = "debian:12-base";
const BASE = "docker.io/library/debian:bookworm";
const TIMEOUT = 400_000;
/** Whatever the machine that runs the tests has there: nothing that a machine reaches by itself. */
const FAR_MIRROR = "10.255.255.1";

/** What a workspace of it finds: the environment, but for what each machine has of its own. */
const LOOK = `set -e
id; env | grep -v '^HOSTNAME=' | sort; pwd; umask
grep -v pyro- /etc/hosts; cat /etc/resolv.conf; hostname | sed 's/-.*//'
cat /etc/passwd /etc/group /etc/apt/sources.list.d/*; ls -A / /root /etc /etc/apt /etc/apt/apt.conf.d /etc/dpkg/dpkg.cfg.d /usr/bin /usr/sbin
cat /etc/os-release /etc/profile /root/.bashrc
grep -c BEGIN /etc/ssl/certs/ca-certificates.crt; sha256sum /etc/ssl/certs/ca-certificates.crt
find /var/lib/apt/lists /var/cache/apt -type f; apt-mark showauto; dpkg --audit
find / -xdev -perm /6000 | sort
dpkg-query -W -f '\${Package} \${Version} \${db:Status-Status}\\n'`;

let directory: string;
let registry: RealRegistry;
let proxy: CountingProxy;
let state: TestState;
/** A host with all that this one has, but for apt and what belongs to it. */
let withoutApt: string;
/** One line of the configuration each. */
let mirrorOfRegistry: string;
let mirrorOfPackages: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "pyro-over-image-"));
  await chmod(directory, 0o711);
  withoutApt = join(directory, "bin");
  await mkdir(withoutApt);
  for (const programs of ["/usr/bin", "/usr/sbin"]) {
    for (const name of await readdir(programs)) {
      if (!/^(apt|dpkg|mmdebstrap)/.test(name))
        await symlink(join(programs, name), join(withoutApt, name)).catch(() => undefined);
    }
  }
  state = await testState({ environments: false });
  registry = await startRegistry();
  proxy = await CountingProxy.start(registry.name);
  // As the distribution's own: the required packages and apt, something besides, and a mirror; one that no machine reaches.
  const sources = `rm -f "$1"/etc/apt/sources.list.d/*; echo "deb http://${FAR_MIRROR}/debian bookworm main" >"$1/etc/apt/sources.list"`;
  const words = [
    "--variant=required",
    "--include=apt,bash,usr-is-merged,bc",
    "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
    `--customize-hook=${sources}`,
  ];
  await registry.addLayers("library/debian", "bookworm", [await debianTar(directory, words)]);
  mirrorOfRegistry = `[mirrors]\n"docker.io" = ["http://${proxy.name}"]\n`;
  mirrorOfPackages = `apt_sources = [${JSON.stringify(await hostSources(directory))}]\n`;
}, TIMEOUT);
afterAll(async () => {
  await proxy[Symbol.asyncDispose]();
  await registry[Symbol.asyncDispose]();
  expect(await isRunning(registry.pid)).toBe(false);
  await rm(directory, { recursive: true, force: true });
  // Last: it fails where something is left.
  await state[Symbol.asyncDispose]();
});

const call = (args: readonly string[], options: RunOptions = {}) =>
  pyro(args, { stateDir: state.path, env: { PATH: withoutApt }, ...options });
const pull = () => call(["env", "pull", NAME, "--json"]);
const environment = (result: Awaited<ReturnType<typeof pull>>) =>
  json(result)["environment"] as { source: string; recipe: string; packages: { name: string }[] };

it(
  "On a host without apt a curated environment is not made where its mirror is out of the machine's reach, which is said",
  async () => {
    await using _home = await homeWith([proxy.name], mirrorOfRegistry);
    const refused = await pull();
    const error = json(refused)["error"] as { code: string; message: string; hint: string };
    expect([refused.code, error.code]).toEqual([1, "ENVIRONMENT_BUILD_FAILED"]);
    expect(error.message).toContain(`${NAME}: installing packages over ${BASE} failed (exit 100): E: `);
    expect(error.message).toMatch(/kept from the network: .* refuses 10\.255\.255\.1.*: 10\.0\.0\.0\/8 is/);
    expect(error.hint).toContain('`apt_sources = ["');
    const doctor = json(await call(["doctor", "--json"])) as { checks: { name: string; ok: boolean }[] };
    expect(doctor.checks.find(({ name }) => name === "tools")).toMatchObject({
      ok: true,
      message: expect.stringContaining("over Debian's image of a registry") as string,
    });
    expect(await readdir(join(state.path, "cache/pulls"))).toEqual([]);
    await call(["daemon", "stop", "--force"]);
  },
  TIMEOUT,
);

it(
  "It is made where the configuration names one, also after a kill in the middle, and is as apt makes it",
  async () => {
    await using _home = await homeWith([proxy.name], mirrorOfPackages + mirrorOfRegistry);
    const fetched = proxy.blobs.length;
    const lost = pull();
    const log = join(state.path, "daemon.log");
    await eventually(
      "packages are installed",
      async () => /"text":"[^"]*(Unpacking|Setting up)/.test(await readFile(log, "utf8").catch(() => "")),
      120_000,
    );
    const { pid } = json(await call(["daemon", "status", "--json"])) as { pid: number };
    process.kill(pid, "SIGKILL");
    expect((await lost).code).not.toBe(0);

    const made = await pull();
    expect(made, made.stderr).toMatchObject({ code: 0 });
    expect(made.stderr).toContain("installing packages\n");
    // The image was here since the first test.
    expect(proxy.blobs.length).toBe(fetched);
    expect(await machinesOf(state.path)).toEqual([]);
    expect(json(await pull())).toMatchObject({ reused: true });
    const listed = json(await call(["env", "list", "--json"]))["environments"] as {
      name: string;
      source: string;
      installed: boolean;
    }[];
    expect(listed.filter(({ installed }) => installed).map(({ name, source }) => [name, source])).toEqual([
      [NAME, "curated"],
      [BASE, "image"],
    ]);

    await using other = await testState({ environments: false });
    const byApt = await pyro(["env", "pull", NAME, "--json"], { stateDir: other.path });
    expect(byApt, byApt.stderr).toMatchObject({ code: 0 });
    expect(environment(made)).toMatchObject({ source: "curated", recipe: environment(byApt).recipe });
    const sorted = (result: Awaited<ReturnType<typeof pull>>) =>
      environment(result)
        .packages.map((each) => JSON.stringify(each))
        .sort();
    expect(sorted(made)).toEqual(sorted(byApt));
    expect(sorted(made).length).toBeGreaterThan(80);

    const look = async (stateDir: string): Promise<string[]> => {
      const { code, stdout, stderr } = await call(["run", NAME, "--", "sh", "-c", LOOK], { stateDir });
      expect([code, stderr.replace(/^pyro: software emulation.*\n/m, "")]).toEqual([0, ""]);
      return stdout.toString().split("\n");
    };
    const [ours, theirs] = [await look(state.path), await look(other.path)];
    expect(ours).toEqual(theirs);
    expect(ours).toContain("uid=0(root) gid=0(root) groups=0(root)");

    // A workspace of it, with a host that none of it names.
    const created = await call(["workspace", "create", NAME, "--name", "w", "--id-only"]);
    expect(created, created.stderr).toMatchObject({ code: 0 });
    const said = await call([
      "workspace",
      "exec",
      "w",
      "--",
      "sh",
      "-c",
      "pwd; grep -r http: /etc/apt; true",
    ]);
    expect(said.stdout.toString()).toBe("/workspace\n");
    await call(["workspace", "delete", "w"]);
    await call(["daemon", "stop", "--force"]);
    expect(await violations(state.path)).toEqual([]);
  },
  TIMEOUT,
);
