import { once } from "node:events";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openSeed } from "../../../../src/workspace/seed/index.js";
import { Bench, errorOf, git } from "./support.js";

describe("a seed of a repository", () => {
  let bench: Bench;
  let repository: string;
  let url: string;
  beforeEach(async () => {
    bench = await Bench.create();
    repository = bench.at("repository");
    url = `file://${repository}`;
    await mkdir(repository);
    await git(repository, "init", "-q", "-b", "main");
    await writeFile(join(repository, "file"), "one");
    await git(repository, "add", "-A");
    await git(repository, "commit", "-q", "-m", "one");
    await git(repository, "tag", "v1");
    await git(repository, "checkout", "-q", "-b", "topic");
    await writeFile(join(repository, "file"), "two");
    await git(repository, "commit", "-q", "-a", "-m", "two");
    await git(repository, "checkout", "-q", "main");
  });
  afterEach(() => bench[Symbol.asyncDispose]());

  it("is its newest commit, or that of a branch, a tag or an id", async () => {
    const topic = (await git(repository, "rev-parse", "topic")).trim();
    const main = (await git(repository, "rev-parse", "main")).trim();
    const cases = [
      ["default", undefined, "one", main, "ref: refs/heads/main\n"],
      ["branch", "topic", "two", topic, "ref: refs/heads/topic\n"],
      ["tag", "v1", "one", main, undefined],
      ["commit", topic, "two", topic, undefined],
    ] as const;
    for (const [name, ref, content, id, head] of cases) {
      const source = { kind: "repository", url, ...(ref === undefined ? {} : { ref }) } as const;
      const { directory, seed } = await bench.unpack(source, name);
      expect(await readFile(join(directory, "file"), "utf8")).toBe(content);
      expect(seed.origin).toEqual({
        mode: "directory",
        seedPath: null,
        originKind: "repository",
        originRef: `${url}#${id}`,
      });
      expect(await git(directory, "status", "--porcelain")).toBe("");
      if (head !== undefined) expect(await readFile(join(directory, ".git/HEAD"), "utf8")).toBe(head);
    }
  });

  it("says that submodules were not fetched", async () => {
    await writeFile(join(repository, ".gitmodules"), '[submodule "x"]\n\tpath = x\n\turl = ./x\n');
    await git(repository, "add", "-A");
    await git(repository, "commit", "-q", "-m", "modules");
    const { warnings } = await bench.unpack({ kind: "repository", url });
    expect(warnings).toEqual(["the repository's submodules were not fetched: their directories are empty"]);
  });

  it("says what git said when it is not there, has no such ref, or is no URL that is allowed", async () => {
    for (const [source, reason] of [
      [{ url: `file://${bench.at("missing")}` }, "does not"],
      [{ url, ref: "no-such-branch" }, "no-such-branch"],
      [{ url, ref: "0".repeat(40) }, ""],
      [{ url: "ext::sh -c touch% /tmp/x" }, "not allowed"],
      [{ url: "--upload-pack=touch" }, "is none"],
      [{ url: "" }, "is none"],
      [{ url, ref: "--exec=x" }, "is none"],
    ] as const) {
      const error = await errorOf(openSeed({ kind: "repository", ...source }, bench.options()));
      expect(error.code).toBe("REPOSITORY_UNREACHABLE");
      expect(error.message).toContain(reason);
      expect(error.hint).toContain("--project-path");
    }
  });

  it("gives up at its deadline, and shows no credentials", async () => {
    const server = createServer((socket) => socket.on("error", () => undefined).resume()).listen(
      0,
      "127.0.0.1",
    );
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as { port: number };
    const secret = `http://someone:hunter2@127.0.0.1:${port}/x.git?token=s3cret`;
    const error = await errorOf(
      openSeed({ kind: "repository", url: secret }, bench.options({ repositoryTimeoutMs: 300 })),
    );
    expect(error.code).toBe("REPOSITORY_UNREACHABLE");
    expect(error.message).toContain("no answer within 1 s");
    expect(JSON.stringify(error)).not.toMatch(/hunter2|s3cret|someone/);
    await new Promise((resolve) => server.close(resolve));

    const refused = await errorOf(openSeed({ kind: "repository", url: secret }, bench.options()));
    expect(refused.code).toBe("REPOSITORY_UNREACHABLE");
    expect(JSON.stringify(refused)).not.toMatch(/hunter2|s3cret|someone/);
  });

  it("says that it needs a password, without waiting for anybody to type one", async () => {
    const asked: (string | undefined)[] = [];
    const server = createHttpServer((request, response) => {
      asked.push(request.headers.authorization);
      response.writeHead(401, { "WWW-Authenticate": 'Basic realm="private"' }).end();
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as { port: number };
    const plain = `http://127.0.0.1:${port}/private.git`;
    for (const address of [plain, `http://someone:hunter2@127.0.0.1:${port}/private.git`]) {
      const error = await errorOf(openSeed({ kind: "repository", url: address }, bench.options()));
      expect(error).toMatchObject({
        code: "REPOSITORY_UNREACHABLE",
        message: expect.stringMatching(
          /cannot fetch ".*\/private\.git": .*[Aa]uthentication failed/,
        ) as string,
        hint: expect.stringMatching(/git clone http:\/\/127.* DIR.*--project-path DIR/) as string,
      });
      expect(JSON.stringify(error)).not.toMatch(/hunter2|someone/);
    }
    expect(asked).toContain(undefined);
    expect(asked).toContain(`Basic ${Buffer.from("someone:hunter2").toString("base64")}`);
    await new Promise((resolve) => server.close(resolve));
    expect(await readdir(bench.at("scratch"))).toEqual([]);
  });

  it("leaves nothing when it is aborted", async () => {
    const server = createServer((socket) => socket.on("error", () => undefined).resume()).listen(
      0,
      "127.0.0.1",
    );
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as { port: number };
    const signal = AbortSignal.timeout(200);
    await expect(
      openSeed({ kind: "repository", url: `git://127.0.0.1:${port}/x` }, bench.options({ signal })),
    ).rejects.toThrow("timeout");
    await new Promise((resolve) => server.close(resolve));
    expect(await readdir(bench.at("scratch"))).toEqual([]);
  });
});
