import { execFileSync } from "node:child_process";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { rootCertificates } from "node:tls";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { guestSources } from "../../../src/daemon/provision/apt.js";
import { readCertificates } from "../../../src/daemon/provision/certificates.js";
import { NOTHING, provisionOf } from "../../../src/daemon/provision/files.js";
import { HostProvision, type HostProvisionOptions } from "../../../src/daemon/provision/index.js";
import { hostProxy } from "../../../src/daemon/provision/proxy.js";
import { readRegistries } from "../../../src/daemon/provision/registries.js";
import { HostPrograms } from "../../../src/image/index.js";
import {
  networkVariables,
  networkVariablesForDaemon,
  silentLogger,
  type NetworkVariables,
} from "../../../src/kit/index.js";
import { dialDirectly } from "../../../src/network/index.js";
import { temporaryState } from "../../fakes/state-directory.js";

const PUBLIC = rootCertificates[0] ?? "";

let home: string;
let state: Awaited<ReturnType<typeof temporaryState>>;
beforeEach(async () => {
  state = await temporaryState();
  home = state.path;
});
afterEach(() => state[Symbol.asyncDispose]());

async function file(name: string, text: string): Promise<string> {
  const path = join(home, name);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text);
  return path;
}

/** A new authority, and its key. */
function authority(name: string, days = "30"): { pem: string; key: string } {
  const args = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const out = execFileSync("openssl", [...args, "-subj", `/CN=${name}`, "-days", days, "-keyout", "-"], {
    stdio: ["ignore", "pipe", "ignore"],
  }).toString();
  const [key = "", pem = ""] = out.split(/(?=-----BEGIN CERTIFICATE)/);
  return { key, pem: pem.trim() };
}

describe("The host's own certificates", () => {
  const read = (variables: NetworkVariables = {}, files?: readonly string[]) =>
    readCertificates({
      ...{ variables, files },
      localDirectory: join(home, "local"),
      distributionDirectory: join(home, "distribution"),
      atMs: Date.now() + 10 * 86_400_000,
    });

  it("are those of its directory and of files that variables name, without the distribution's and each once", async () => {
    const [one, two, debians] = [authority("one"), authority("two"), authority("debian")];
    await file("local/one.crt", `a remark\n${one.pem}\n`);
    await file("local/more/again.crt", one.pem);
    await file("local/readme.txt", two.pem);
    await file("distribution/mozilla/debian.crt", debians.pem);
    const bundle = await file("bundle.crt", [PUBLIC, debians.pem, two.pem, one.pem].join("\n"));
    const found = await read({ SSL_CERT_FILE: bundle, NODE_EXTRA_CA_CERTS: bundle });
    expect(found).toEqual({ pem: `${one.pem}\n${two.pem}\n`, count: 2, warnings: [] });
    expect(await read()).toMatchObject({ count: 1 });
  });

  it("never bring a private key along", async () => {
    const { pem, key } = authority("with its key");
    await file("local/both.crt", `${key}\n${pem}\n${key}`);
    const found = await read();
    expect(key).toContain("PRIVATE KEY");
    expect(found.pem).toBe(`${pem}\n`);
  });

  it("are left out where they ended or cannot be read, with a line for each", async () => {
    const whole = authority("whole");
    const broken = whole.pem.replace(/\n.*\n/, "\nAAAA\n");
    await file("local/a.crt", `${broken}\n${whole.pem}`);
    await file("local/b.crt", "nothing");
    await file("local/old.crt", authority("old", "1").pem);
    const found = await read({ CURL_CA_BUNDLE: join(home, "missing"), PIP_CERT: "/dev/zero" });
    expect(found.count).toBe(1);
    expect(found.warnings).toEqual([
      `${join(home, "local/b.crt")} holds no certificate`,
      `${join(home, "missing")} is no file that can be read`,
      "/dev/zero is no file that can be read",
      `certificate 1 of ${join(home, "local/a.crt")} cannot be read`,
      expect.stringMatching(/^the certificate of "CN=old" ended on /) as string,
    ]);
  });

  it("are those that the user names, and none where that is an empty list", async () => {
    await file("local/one.crt", authority("one").pem);
    const own = await file("own.pem", authority("debian").pem);
    await file("distribution/debian.crt", await readFile(own, "utf8"));
    expect(await read({ SSL_CERT_FILE: own }, [])).toEqual({ pem: "", count: 0, warnings: [] });
    // Said by name, one of the distribution's counts too: an environment may lack it.
    expect(await read({}, [own])).toMatchObject({ count: 1 });
  });

  it("are bounded", async () => {
    const own = await file("many.pem", rootCertificates.slice(0, 100).join("\n"));
    const found = await read({}, [own]);
    expect(found.count).toBeLessThanOrEqual(64);
    expect(found.pem.length).toBeLessThanOrEqual(128 * 1024);
    expect(found.warnings.at(-1)).toContain(
      `100 certificates are more than the ${found.count} that machines get`,
    );
  });
});

describe("The host's registries", () => {
  const read = (variables: NetworkVariables = {}) =>
    readRegistries({ variables, home, etc: join(home, "etc"), nodePath: join(home, "usr/bin/node") });

  it("are none where nothing is set", async () => {
    expect(await read()).toEqual({ warnings: [] });
  });

  it("are read as the programs themselves do: the environment, the user's file, then the host's", async () => {
    await file("etc/npmrc", "registry = https://npm.example.org/host/\n");
    await file("usr/etc/npmrc", "; a remark\nregistry = https://npm.example.org/node/\n");
    expect(await read()).toMatchObject({ npm: "https://npm.example.org/node/" });
    await file(".npmrc", 'fund=false\nregistry="https://npm.example.org/user/"\n');
    expect(await read()).toMatchObject({ npm: "https://npm.example.org/user/" });
    expect(await read({ npm_config_registry: "https://npm.example.org/" })).toMatchObject({
      npm: "https://npm.example.org/",
    });
    await file("etc/pip.conf", "[global]\nindex-url = https://pip.example.org/host/simple\n");
    expect(await read()).toMatchObject({ pip: "https://pip.example.org/host/simple" });
    await file(
      ".config/pip/pip.conf",
      "[list]\nindex-url = no\n[global]\nindex_url: https://pip.example.org/simple\n",
    );
    expect(await read()).toMatchObject({ pip: "https://pip.example.org/simple" });
    await file(".config/go/env", "GOFLAGS=-v\nGOPROXY=https://go.example.org|direct\n");
    expect(await read()).toMatchObject({ go: "https://go.example.org|direct", warnings: [] });
  });

  it("stay on the host where they take credentials, with a warning that does not tell them", async () => {
    await file(".npmrc", "registry=https://npm.example.org/team/\n//npm.example.org/:_authToken=secret\n");
    const found = await read({
      PIP_INDEX_URL: "https://user:secret@pip.example.org/simple",
      GOPROXY: "https://secret@go.example.org,direct",
    });
    expect(found).toEqual({
      warnings: [
        "machines do not get npm's registry: it asks for a token",
        "machines do not get pip's index: it has credentials in it",
        "machines do not get Go's proxy: it has credentials in it",
      ],
    });
    const others = await read({
      npm_config_registry: "http://localhost:4873/",
      PIP_INDEX_URL: "file:///srv/pip",
    });
    expect(others.warnings).toEqual([
      "machines do not get npm's registry: it is a service of this host itself",
      "machines do not get pip's index: a machine does not reach file: addresses",
    ]);
  });
});

describe("The host's apt sources", () => {
  const source = { uris: ["http://deb.example.org/debian"], suites: ["bookworm"], components: ["main"] };
  const given = (signedBy?: string, uris = source.uris) =>
    guestSources([{ ...source, uris, ...(signedBy === undefined ? {} : { signedBy }) }]);

  it("are handed on with Debian's keyring, under whichever name the host has it, or the key that is written there", () => {
    const stanza = "Types: deb\nURIs: http://deb.example.org/debian\nSuites: bookworm\nComponents: main\n";
    expect(given()).toEqual({ text: stanza, warnings: [] });
    for (const own of [
      "/usr/share/keyrings/debian-archive-keyring.pgp",
      "/etc/apt/keyrings/debian-archive-bookworm-stable.asc",
    ]) {
      expect(given(own).text).toBe(`${stanza}Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n`);
    }
    const key = "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n -----END PGP PUBLIC KEY BLOCK-----";
    expect(given(key).text).toBe(`${stanza}Signed-By: ${key}\n`);
  });

  it("stay on the host where a machine cannot use them, with a warning that tells no credentials", () => {
    expect(given("/etc/apt/keyrings/company.gpg")).toEqual({
      ...{
        text: "",
        warnings: ["machines do not get an apt source of bookworm: its keyring is only on the host"],
      },
    });
    const mixed = given(undefined, [
      "http://user:secret@apt.example.org/",
      "file:/srv/debian",
      ...source.uris,
    ]);
    expect(mixed.text).toContain("URIs: http://deb.example.org/debian\n");
    expect(mixed.warnings).toEqual([
      "machines do not get an apt source of bookworm: it has credentials in it",
      "machines do not get an apt source of bookworm: a machine does not reach file: addresses",
    ]);
  });
});

describe("What is read for machines of a host without apt", () => {
  const read = async (settings: HostProvisionOptions["settings"]) => {
    const host = new HostPrograms({ path: home });
    const provision = new HostProvision({ settings, host, variables: {}, log: silentLogger });
    const { files } = await provision.read();
    const apt = files.find(({ path }) => path.endsWith("/pyro-host.sources"))?.content ?? [];
    return { apt: Buffer.from(apt).toString(), description: await provision.describe() };
  };

  it("has no sources of apt, but for those that the configuration names", async () => {
    expect(await read({ certificates: [] })).toMatchObject({ apt: "" });
    const mirror = await file("mirror.list", "deb http://deb.example.org/debian trixie main contrib\n");
    const apt = "Types: deb\nURIs: http://deb.example.org/debian\nSuites: bookworm\nComponents: main\n";
    for (const settings of [{}, { package_sources: false }])
      expect(await read({ certificates: [], apt_sources: [mirror], ...settings })).toMatchObject({ apt });
  });

  it("says what is wrong with what it names", async () => {
    const { apt, description } = await read({ certificates: [], apt_sources: [join(home, "none")] });
    expect(apt).toBe("");
    expect(description).toContain(`apt_sources names ${join(home, "none")}, which cannot be read (ENOENT)`);
  });
});

describe("What a machine gets", () => {
  it("names every file each time, so that what is not given any more is taken away", () => {
    const all = provisionOf(
      { pem: "PEM" },
      { text: "APT" },
      {
        npm: "https://npm.example.org/",
        pip: "https://pip.example.org/",
        go: "https://go.example.org",
        warnings: [],
      },
    );
    const texts = (of: typeof all) =>
      Object.fromEntries(of.files.map((f) => [f.path, Buffer.from(f.content).toString()]));
    expect(texts(all)).toEqual({
      "/usr/local/share/ca-certificates/pyro-host.crt": "PEM",
      "/etc/ssl/certs/ca-certificates.crt": "PEM",
      "/etc/apt/sources.list.d/pyro-host.sources": "APT",
      "/root/.npmrc": "registry=https://npm.example.org/\n",
      "/etc/pip.conf": "[global]\nindex-url = https://pip.example.org/\n",
    });
    expect(all.environment).toEqual([
      "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
      "REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt",
      "NODE_EXTRA_CA_CERTS=/usr/local/share/ca-certificates/pyro-host.crt",
      "GOPROXY=https://go.example.org",
    ]);
    const plain = provisionOf(
      { pem: "" },
      { text: "" },
      { pip: "http://pip.example.org:8080/simple", warnings: [] },
    );
    expect(texts(plain)["/etc/pip.conf"]).toContain("/simple\ntrusted-host = pip.example.org:8080\n");
    expect(Object.keys(texts(NOTHING))).toEqual(Object.keys(texts(all)));
    expect([...new Set(Object.values(texts(NOTHING))), ...NOTHING.environment]).toEqual([""]);
  });
});

describe("The host's proxy", () => {
  it("is the configuration's, else the environment's, and is told without its credentials", () => {
    const variables = { HTTP_PROXY: "http://plain.test:1", https_proxy: "http://user:secret@tls.test:3129" };
    const said = (...args: Parameters<typeof hostProxy>) => hostProxy(...args).description;
    expect(said({}, {})).toBe("connections go out directly");
    expect(said({}, variables)).toBe("connections go out by the proxy tls.test:3129");
    expect(said({}, { HTTP_PROXY: variables.HTTP_PROXY })).toBe(
      "connections go out by the proxy plain.test:1",
    );
    expect(said({ proxy: "http://own.test:3128/" }, variables)).toBe(
      "connections go out by the proxy own.test:3128",
    );
    expect(hostProxy({ proxy: "" }, variables).dial).toBe(dialDirectly);
  });

  it("fails connections where the environment's cannot be used, and the daemon where the configuration's cannot", async () => {
    const broken = hostProxy({}, { HTTPS_PROXY: "socks5://user:secret@proxy.test" });
    expect(broken.description).toMatch(/^connections fail: .*http:\/\//);
    const place = { host: "203.0.114.7", port: 443 };
    const failed = broken.dial(place, new AbortController().signal);
    await expect(failed).rejects.toThrow("no address that begins with http://");
    await expect(failed).rejects.not.toThrow("secret");
    expect(broken.description).not.toContain("secret");
    expect(() => hostProxy({ proxy: "https://proxy.test" }, {})).toThrow(
      expect.objectContaining({ code: "CONFIG_INVALID" }),
    );
  });
});

it("A daemon is told of its starter's environment what is about the network, and nothing that is empty", () => {
  const from = {
    HTTPS_PROXY: "http://proxy.test:1",
    NO_PROXY: "",
    GOPROXY: "off",
    AWS_SECRET_ACCESS_KEY: "secret",
  };
  expect(networkVariables(from)).toEqual({ HTTPS_PROXY: "http://proxy.test:1", GOPROXY: "off" });
  expect(networkVariablesForDaemon({ NODE_EXTRA_CA_CERTS: "/ca.pem" })).toEqual({
    PYRO_EXTRA_CA_CERTS: "/ca.pem",
  });
});
