import { chmod, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { containerCredentials, DEFAULT_REGISTRY, type Credentials } from "../../../src/oci/index.js";
import { temporaryState } from "../../fakes/state-directory.js";

const SECRET = "s3cret-of-the-user";

const PASSWORD: Credentials = { kind: "password", username: "ann", password: SECRET };

/** Under which docker keeps the login of its own registry. */
const DOCKER_LOGIN = `https://index.${DEFAULT_REGISTRY}/v1/`;

let home: Awaited<ReturnType<typeof temporaryState>>;
beforeEach(async () => {
  home = await temporaryState();
});
afterEach(() => home[Symbol.asyncDispose]());

describe("the container configuration", () => {
  const auth = Buffer.from(`ann:${SECRET}`).toString("base64");
  const endpoint = (name: string, logins = [name]) => ({
    name,
    base: `https://${name}`,
    logins,
    isMirror: false,
  });
  const find = async (name: string, repository = "team/tool", environment: Record<string, string> = {}) =>
    await containerCredentials({ home: home.path, environment })(
      endpoint(name, name === "docker.io" ? [DOCKER_LOGIN, "docker.io"] : [name]),
      repository,
      new AbortController().signal,
    );
  const docker = async (value: unknown, directory = ".docker", name = "config.json"): Promise<void> => {
    await mkdir(join(home.path, directory), { recursive: true });
    const text = typeof value === "string" ? value : JSON.stringify(value);
    await writeFile(join(home.path, directory, name), text);
  };

  it("gives nothing where there is none", async () => {
    expect(await find("r.example.org")).toBeUndefined();
  });

  it("gives the login of a registry, however docker and podman wrote its name", async () => {
    await docker({
      auths: {
        "r.example.org": { auth },
        "https://old.example.org/v1/": { auth },
        [DOCKER_LOGIN]: { auth },
        "p.example.org/team": { username: "team", password: SECRET },
        "p.example.org": { auth },
        "i.example.org": { auth, identitytoken: SECRET },
        "empty.example.org": {},
      },
    });
    for (const name of ["r.example.org", "old.example.org", "docker.io"])
      expect(await find(name)).toEqual(PASSWORD);
    expect(await find("p.example.org")).toMatchObject({ username: "team" });
    expect(await find("p.example.org", "other/tool")).toEqual(PASSWORD);
    expect(await find("i.example.org")).toEqual({ kind: "identity-token", token: SECRET });
    for (const name of ["empty.example.org", "example.org", "x.r.example.org", "r.example.org:5000"]) {
      expect(await find(name)).toBeUndefined();
    }
  });

  it("is looked for where podman and docker put it, in podman's order", async () => {
    await docker({ auths: { "r.example.org": { username: "docker", password: "x" } } });
    expect(await find("r.example.org")).toMatchObject({ username: "docker" });
    await docker({ auths: { "r.example.org": { username: "other", password: "x" } } }, "other");
    const environment = {
      DOCKER_CONFIG: join(home.path, "other"),
      XDG_RUNTIME_DIR: join(home.path, "run"),
    };
    expect(await find("r.example.org", "x", environment)).toMatchObject({ username: "other" });
    await docker(
      { auths: { "r.example.org": { username: "podman", password: "x" } } },
      "run/containers",
      "auth.json",
    );
    expect(await find("r.example.org", "x", environment)).toMatchObject({ username: "podman" });
  });

  it.each([
    ["is no JSON", `{"auths": {"r": {"auth": "${SECRET}`],
    ["is another thing", { auths: [SECRET] }],
    ["has a broken entry", { auths: { "r.example.org": { auth: Buffer.from(SECRET).toString("base64") } } }],
  ])("that %s is named, without a word of it", async (_, value) => {
    await docker(value);
    const error: unknown = await find("r.example.org").catch((failure: unknown) => failure);
    expect(error).toMatchObject({
      code: "REGISTRY_CREDENTIALS_INVALID",
      message: expect.stringContaining(".docker/config.json") as string,
    });
    expect(JSON.stringify(error) + String((error as Error).stack)).not.toContain(SECRET);
  });

  describe("with a helper", () => {
    const environment = (): Record<string, string> => ({
      PATH: join(home.path, "bin"),
      GNUPGHOME: "/gnupg",
    });
    const helper = async (script: string): Promise<void> => {
      await mkdir(join(home.path, "bin"), { recursive: true });
      const path = join(home.path, "bin/docker-credential-test");
      await writeFile(path, `#!/bin/sh\nPATH=/bin:/usr/bin\n${script}\n`);
      await chmod(path, 0o755);
    };
    const answering = (username: string): string =>
      `[ "$1" = get ] && read -r server; printf '{"ServerURL":"%s","Username":"${username}","Secret":"%s"}' "$server" "$server $GNUPGHOME"`;

    it("asks it for the registry, on its standard input", async () => {
      await helper(answering("ann"));
      await docker({ credHelpers: { "r.example.org": "test" }, auths: { "r.example.org": { auth } } });
      expect(await find("r.example.org", "x", environment())).toEqual({
        ...{ kind: "password", username: "ann", password: "r.example.org /gnupg" },
      });
    });

    it("asks the one for all by docker's own name, after the entries", async () => {
      await helper(answering("<token>"));
      await docker({ credsStore: "test", auths: { "r.example.org": { auth }, "docker.io": {} } });
      expect(await find("r.example.org", "x", environment())).toEqual(PASSWORD);
      expect(await find("docker.io", "x", environment())).toEqual({
        ...{ kind: "identity-token", token: `${DOCKER_LOGIN} /gnupg` },
      });
    });

    it("that has none gives none", async () => {
      await helper('echo "credentials not found in native keychain"; exit 1');
      await docker({ credsStore: "test" });
      expect(await find("r.example.org", "x", environment())).toBeUndefined();
    });

    it.each([
      [`echo ${SECRET}; echo ${SECRET} >&2; exit 3`, "it ended with 3"],
      [`echo ${SECRET}`, "did not answer as a helper does"],
      ["kill -9 $$", "SIGKILL ended it"],
    ])("that fails is named, without a word of what it said: %s", async (script, problem) => {
      await helper(script);
      await docker({ credsStore: "test" });
      const error: unknown = await find("r.example.org", "x", environment()).catch(
        (failure: unknown) => failure,
      );
      expect(error).toMatchObject({
        code: "REGISTRY_CREDENTIALS_INVALID",
        message: expect.stringContaining(problem) as string,
      });
      expect(JSON.stringify(error)).not.toContain(SECRET);
    });

    it.each(["../evil", "a b", "", "missing"])("called %j is not started", async (name) => {
      await docker({ credHelpers: { "r.example.org": name } });
      await expect(find("r.example.org", "x", environment())).rejects.toMatchObject({
        code: "REGISTRY_CREDENTIALS_INVALID",
      });
    });
  });
});
