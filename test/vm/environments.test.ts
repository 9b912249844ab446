import { chmod, mkdir, mkdtemp, readdir, stat, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  EnvironmentPulls,
  EnvironmentStore,
  layoutOf,
  loadCatalogue,
  type ImageBuilder,
} from "../../src/image/index.js";
import { mmdebstrapMode } from "../../src/image/mmdebstrap.js";
import { HostPrograms } from "../../src/image/host-tools.js";
import { FakeLayers } from "../unit/image/fake-layers.js";
import { testBuilder, testMachines } from "./test-builder.js";

const NAME = "debian:12-base";
const TIMEOUT = 900_000;

/** What must hold in the finished tree, however it was made; prints the packages. */
const CHECK = `set -e
test -z "$(dpkg --audit)"
test -L /bin -a -L /lib -a -L /sbin
test -e /etc/machine-id -a ! -s /etc/machine-id
test -e /etc/resolv.conf -a ! -s /etc/resolv.conf
test "$(cat /etc/hostname)" = pyro
test "$(ls /etc/apt/sources.list.d)" = debian.sources
test ! -e /etc/apt/apt.conf.d/99mmdebstrap -a ! -e /usr/sbin/policy-rc.d -a ! -e /.pyro-build
test -z "$(find /var/lib/apt/lists /var/cache/apt -type f)"
test -z "$(find / -xdev \\( -uid +999 -o -gid +999 \\) -print)"
test -s /etc/ssl/certs/ca-certificates.crt
awk 'BEGIN { print "awk works" }'
dpkg-query -W -f '\${Package} \${Version} \${db:Status-Status}\\n'`;

describe("environments made in a real builder VM", () => {
  let directory: string;
  const host = new HostPrograms();
  const outputs = new Map<string, string>();
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "pyro-environments-"));
    await chmod(directory, 0o711);
    await mkdir(join(directory, "vms"), { mode: 0o711 });
  });
  afterAll(() => rm(directory, { recursive: true, force: true }));

  async function pull(way: "mmdebstrap" | "staged"): Promise<EnvironmentStore> {
    await using machines = testMachines(join(directory, "vms"));
    const real = testBuilder(machines);
    const builder: ImageBuilder = {
      makeDisk: (target) => real.makeDisk(target),
      build: (build) => {
        let output = "";
        return real
          .build({
            ...build,
            steps: [...build.steps, { argv: ["/bin/sh", "-c", CHECK], env: [] }],
            onOutput: (chunk) => (output += Buffer.from(chunk).toString()),
          })
          .finally(() => outputs.set(way, output));
      },
    };
    const catalogue = await loadCatalogue(join(import.meta.dirname, "../../environments"));
    const store = new EnvironmentStore(catalogue, layoutOf(join(directory, "cache")));
    const result = await new EnvironmentPulls({
      images: () => Promise.reject(new Error("there are no registries here")),
      layers: new FakeLayers(),
      store,
      builder,
      host,
      way,
    }).pull(NAME, { force: true });
    expect(result.reused).toBe(false);
    const { uid, mode } = await stat((await store.require(NAME)).path);
    expect({ uid, mode: mode & 0o777 }).toEqual({ uid: process.getuid?.(), mode: 0o444 });
    expect(await readdir(store.layout.pulls)).toEqual([]);
    expect(await readdir(join(directory, "vms"))).toEqual([]);
    return store;
  }

  /** Packages and versions, from after the line that ends the checks. */
  const packages = (way: string): string[] =>
    (outputs.get(way) ?? "").split("awk works\n")[1]?.trim().split("\n").sort() ?? [];

  it(
    "hold whole packages and nothing of the host, where packages are only fetched and installed in the VM",
    async () => {
      const store = await pull("staged");
      const { packages: fetched, sizeBytes } = await store.require(NAME);
      expect(packages("staged")).toEqual(
        fetched.map(({ name, version }) => `${name} ${version} installed`).sort(),
      );
      // The packages lay on the disk while they were installed, some 150 MB; their blocks were given back. What is
      // more than mmdebstrap's image is the journal, written all the way round.
      expect(sizeBytes).toBeLessThan(280 * 1024 * 1024);
    },
    TIMEOUT,
  );

  it(
    "hold the same packages where mmdebstrap makes them",
    async ({ skip }) => {
      if ((await mmdebstrapMode(host)) === undefined) skip("mmdebstrap does not work on this host");
      await pull("mmdebstrap");
      expect(packages("mmdebstrap").length).toBeGreaterThan(80);
      if (outputs.has("staged")) expect(packages("mmdebstrap")).toEqual(packages("staged"));
    },
    TIMEOUT,
  );
});
