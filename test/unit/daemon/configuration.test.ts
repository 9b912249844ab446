import { execFileSync } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  describeConfiguration,
  parseSettings,
  readConfiguration,
} from "../../../src/daemon/configuration.js";
import { requiredIsolation } from "../../../src/daemon/required-isolation.js";
import { PyroError } from "../../../src/protocol/index.js";
import { temporaryState } from "../../fakes/state-directory.js";

const never = new AbortController().signal;

function wrong(text: string): PyroError {
  try {
    parseSettings("config.toml", text);
  } catch (error) {
    if (error instanceof PyroError) return error;
    throw error;
  }
  throw new Error("nothing was wrong");
}

describe("The configuration", () => {
  it("takes each key that there is", () => {
    const settings = parseSettings(
      "config.toml",
      `pool = 2
       require_isolation = "kvm"
       host_roots = ["/srv/projects"]
       insecure_registries = ["registry.test:5000"]
       idle_suspend = 600
       certificates = ["/srv/ca.pem"]
       package_sources = false
       apt_sources = ["/etc/company.sources"]
       proxy = "http://user:secret@proxy.test:3128"
       no_proxy = ["corp.test", "10.0.0.0/8"]
       [mirrors]
       "registry.test" = ["https://mirror.test/v2"]`,
    );
    expect(settings).toEqual({
      ...{ pool: 2, require_isolation: "kvm", host_roots: ["/srv/projects"], idle_suspend: 600 },
      ...{
        insecure_registries: ["registry.test:5000"],
        ...{ certificates: ["/srv/ca.pem"], package_sources: false },
        apt_sources: ["/etc/company.sources"],
        ...{ proxy: "http://user:secret@proxy.test:3128", no_proxy: ["corp.test", "10.0.0.0/8"] },
        mirrors: { "registry.test": ["https://mirror.test/v2"] },
      },
    });
    expect(parseSettings("config.toml", "# nothing yet\n")).toEqual({});
  });

  it("is refused with all that is wrong with it at once, by line", () => {
    const error = wrong(`pool = "lots"
require_isolation = "software"
host_roots = ["/srv", "relative"]
insecure_registries = "registry.test"
idle_suspend = -1
colour = true

[mirrors]
"registry.test" = ["ftp://mirror.test"]

[pools]
size = 1
`);
    expect(error.code).toBe("CONFIG_INVALID");
    expect(error.message.split("; ")).toEqual([
      'config.toml has 8 problems: line 1: pool is "lots", it has to be a whole number from 0 to 64',
      'line 2: require_isolation is "software", it has to be "kvm"',
      'line 3: host_roots.1 is "relative", it has to be a list of absolute paths',
      'line 4: insecure_registries is "registry.test", it has to be a list of registries, such as registry.test:5000',
      "line 5: idle_suspend is -1, it has to be whole seconds from 0 to 2592000",
      'line 6: there is no key "colour"',
      'line 8: mirrors.registry.test.0 is "ftp://mirror.test", it has to be a table of lists of addresses by registry',
      'line 11: there is no key "pools"',
    ]);
    expect(error.hint).toContain("pool, require_isolation, host_roots");
    expect(error.details).toMatchObject({ path: "config.toml", problems: { length: 8 } });
  });

  it("is shown without the credentials of addresses, right or wrong", () => {
    expect(wrong('proxy = "https://user:secret@proxy.test"').message).toContain(
      'line 1: proxy is "https://proxy.test", it has to be an address such as http://proxy.test:3128, or ""',
    );
    const read = { path: "c", found: true, settings: { proxy: "http://user:secret@proxy.test:3128" } };
    expect(describeConfiguration(read, read)).toBe('c: proxy = "http://proxy.test:3128"');
  });

  it.each([
    ["pool = 65", "line 1: pool is 65"],
    ["pool = 1.5", "line 1: pool is 1.5"],
    ["pool = nan", "line 1: pool is null"],
    ["\n\npool = ", "line 3: no TOML: "],
    ["pool = 1\npool = 2", "line 2: no TOML: "],
    ["pool = 99999999999999999999", "line 1: "],
    ["pool = 1979-05-27", 'line 1: pool is "1979-05-27"'],
    ["__proto__ = 1", "line 1: "],
    ["mirrors = { 'a b' = [] }", 'line 1: mirrors."a b" is '],
    ["\u0000", "line 1: no TOML: "],
  ])("names what is wrong with %j", (text, message) => {
    expect(wrong(text)).toMatchObject({
      code: "CONFIG_INVALID",
      message: expect.stringContaining(`config.toml has a problem: ${message}`) as string,
    });
  });

  describe("as a file", () => {
    let state: Awaited<ReturnType<typeof temporaryState>>;
    let path: string;
    beforeEach(async () => {
      state = await temporaryState();
      path = join(state.path, "config.toml");
    });
    afterEach(() => state[Symbol.asyncDispose]());

    it("may be missing, and its directory too", async () => {
      expect(await readConfiguration(path)).toEqual({ path, found: false, settings: {} });
      expect(await readConfiguration(join(path, "below/config.toml"))).toMatchObject({ found: false });
      await writeFile(path, "pool = 0\n");
      expect(await readConfiguration(path)).toEqual({ path, found: true, settings: { pool: 0 } });
      expect(await readConfiguration(join(path, "below"))).toMatchObject({ found: false });
    });

    it("is refused at once where it is no plain file, or is too large", async () => {
      execFileSync("mkfifo", [path]);
      const directory = join(state.path, "directory");
      await mkdir(directory);
      const large = join(state.path, "large");
      await writeFile(large, "#".repeat(70_000));
      for (const [file, message] of [
        [path, "it is no file"],
        [directory, "it is no file"],
        [large, "it has 70000 bytes"],
      ] as const) {
        await expect(readConfiguration(file)).rejects.toMatchObject({
          code: "CONFIG_INVALID",
          message: expect.stringContaining(`${file} has a problem: ${message}`) as string,
        });
      }
    });
  });

  it("is told in one line, with what changed since", () => {
    const none = { path: "config.toml", found: false, settings: {} };
    const some = {
      path: "config.toml",
      found: true,
      settings: { pool: 2, require_isolation: "kvm" as const },
    };
    expect(describeConfiguration(none, none)).toBe("there was no config.toml; all is as by default");
    expect(describeConfiguration(some, some)).toBe('config.toml: pool = 2, require_isolation = "kvm"');
    expect(describeConfiguration({ ...none, found: true }, some)).toBe(
      "config.toml: nothing is set; it was changed since, `pyro daemon stop` lets the next call read it",
    );
  });
});

describe("A required isolation", () => {
  const accelerators = (chosen: "kvm" | "software") => ({
    verdict: () =>
      Promise.resolve({
        chosen,
        accelerators: [
          { name: "kvm" as const, usable: chosen === "kvm", reason: "/dev/kvm is missing" },
          { name: "software" as const, usable: true, reason: "" },
        ],
      }),
  });
  const configuration = { path: "config.toml", found: true, settings: { require_isolation: "kvm" as const } };

  it("lets machines start with it, and refuses them without, with the reason", async () => {
    expect(await requiredIsolation(accelerators("kvm"), configuration)(never)).toBe("kvm");
    await expect(requiredIsolation(accelerators("software"), configuration)(never)).rejects.toMatchObject({
      code: "ISOLATION_NOT_AVAILABLE",
      message: "config.toml requires KVM, and this host has only software emulation: /dev/kvm is missing",
    });
  });

  it("is what the host has, where none is required", async () => {
    const free = requiredIsolation(accelerators("software"), { ...configuration, settings: {} });
    expect(await free(never)).toBe("software");
  });
});
