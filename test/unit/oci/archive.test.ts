import { mkdir, mkdtemp, readdir, rename, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { complete, encodeTarHeader, tarEntry, tarPadding, type TarEntry } from "../../../src/kit/index.js";
import {
  BlobStore,
  digestOf,
  ImagePulls,
  type ArchiveOptions,
  type StoredImage,
} from "../../../src/oci/index.js";
import { LIMITS, PyroError } from "../../../src/protocol/index.js";
import { OCI_MANIFEST, tarOf } from "../../fakes/fake-registry.js";

const CONFIG = "application/vnd.oci.image.config.v1+json";
const LAYER = "application/vnd.oci.image.layer.v1.tar+gzip";
const LAYOUT = '{"imageLayoutVersion": "1.0.0"}';

let directory: string;
let store: BlobStore;
let pulls: ImagePulls;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "pyro-archive-"));
  store = await BlobStore.open(join(directory, "store"));
  pulls = new ImagePulls({ store });
});
afterEach(async () => {
  await pulls[Symbol.asyncDispose]();
  await store[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

/** Files of a layout, by their names. */
type Files = Map<string, Buffer>;

function put(files: Files, bytes: Buffer): { digest: string; size: number } {
  const digest = digestOf(bytes);
  files.set(`blobs/sha256/${digest.slice("sha256:".length)}`, bytes);
  return { digest, size: bytes.length };
}

/** Adds an image, and gives its entry of an index. */
function image(files: Files, seed: number, fields: { ref?: string; architecture?: string } = {}) {
  const { ref, architecture = "amd64" } = fields;
  const tars = [tarOf(seed), tarOf(seed + 100, 300_000)];
  const layers = tars.map((tar) => ({ mediaType: LAYER, ...put(files, gzipSync(tar, { level: 1 })) }));
  const rootfs = { type: "layers", diff_ids: tars.map((tar) => digestOf(tar)) };
  const config = put(
    files,
    Buffer.from(JSON.stringify({ os: "linux", architecture, rootfs, config: { Env: ["A=b"] } })),
  );
  const manifest = {
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: { mediaType: CONFIG, ...config },
    layers,
  };
  const annotations = ref === undefined ? {} : { annotations: { "org.opencontainers.image.ref.name": ref } };
  return { mediaType: OCI_MANIFEST, ...put(files, Buffer.from(JSON.stringify(manifest))), ...annotations };
}

function layout(files: Files, ...manifests: object[]): Files {
  files.set("oci-layout", Buffer.from(LAYOUT));
  return files.set("index.json", Buffer.from(JSON.stringify({ schemaVersion: 2, manifests })));
}
const simple = (): Files => {
  const files: Files = new Map();
  return layout(files, image(files, 1));
};

function entry(name: string, content: Buffer, type = "0", fields: Partial<TarEntry> = {}): Buffer {
  const head = encodeTarHeader(tarEntry(name, type, { size: content.length, ...fields }));
  return Buffer.concat([head, content, Buffer.alloc(tarPadding(content.length))]);
}
const tarOfFiles = (files: Files, ...more: Buffer[]): Buffer =>
  Buffer.concat([...more, ...[...files].map(([name, bytes]) => entry(name, bytes)), Buffer.alloc(1024)]);

async function file(bytes: Buffer, name = "image.tar"): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, bytes);
  return path;
}
async function directoryOf(files: Files): Promise<string> {
  const path = join(directory, "layout");
  for (const [name, bytes] of files) {
    await mkdir(join(path, name, ".."), { recursive: true });
    await writeFile(join(path, name), bytes);
  }
  return path;
}
const read = async (path: string, options: ArchiveOptions = {}): Promise<StoredImage> =>
  await pulls.readArchive(path, options);
const failure = async (path: string, options: ArchiveOptions = {}): Promise<PyroError> => {
  const error = await read(path, options).then(
    () => expect.fail("it was read"),
    (reason: unknown) => PyroError.from(reason),
  );
  // What was not proven has no place.
  expect(await readdir(join(directory, "store/partial"))).toEqual([]);
  return error;
};
const isWhole = async (found: StoredImage): Promise<void> => {
  for (const { digest } of found.layers) expect(await store.find(digest)).toBeDefined();
};

describe("an archive", () => {
  it("is read into the store, as a tar and as a directory, and then not again", async () => {
    const files = simple();
    const told: string[] = [];
    const options: ArchiveOptions = {
      onProgress: ({ phase, bytesDone, bytesTotal }) => told.push(`${phase} ${bytesDone}/${bytesTotal}`),
    };
    const found = await read(await file(tarOfFiles(files)), options);
    expect(found).toMatchObject({
      reused: false,
      config: { env: ["A=b"], platform: { architecture: "amd64" } },
    });
    expect(found.layers.map(({ diffId }) => diffId)).toEqual([
      digestOf(tarOf(1)),
      digestOf(tarOf(101, 300_000)),
    ]);
    expect(told.at(-1)).toBe(`layers ${found.sizeBytes}/${found.sizeBytes}`);
    await isWhole(found);
    expect(await read(await directoryOf(files))).toMatchObject({
      reused: true,
      manifestDigest: found.manifestDigest,
    });
  });

  it("as a directory alone is read too", async () => {
    const found = await read(await directoryOf(simple()));
    expect(found.reused).toBe(false);
    await isWhole(found);
  });

  it("of any tar's kind is read: with ./ before its names, GNU's and POSIX's long names and sizes, no end", async () => {
    const files = simple();
    const [[blob = "", bytes = Buffer.alloc(0)] = []] = files;
    const rest = new Map([...files].slice(1));
    const record = (key: string, value: string): string => {
      const length = ` ${key}=${value}\n`.length;
      const total = length + String(length + 3).length;
      return `${total} ${key}=${value}\n`;
    };
    const extended = Buffer.from(
      record("path", `./${blob}`) + record("mtime", "1.5") + record("size", String(bytes.length)),
    );
    const heads = [
      entry("././@LongLink", Buffer.from(`./${blob}\0`), "L"),
      Buffer.concat([
        entry("g", Buffer.from(record("comment", "x")), "g"),
        entry("PaxHeaders/x", extended, "x"),
      ]),
    ];
    for (const [index, head] of heads.entries()) {
      const parts = [...rest].map(([name, content]) => entry(`./${name}`, content));
      const whole = Buffer.concat([
        entry("blobs/", Buffer.alloc(0), "5"),
        ...parts,
        head,
        entry("short", bytes),
      ]);
      await isWhole(await read(await file(whole, `kind-${index}.tar`)));
      await store.prune([]);
    }
  });

  it("of several platforms gives the one that runs here, and names what there is for others", async () => {
    const files: Files = new Map();
    const entries = ["arm64", "amd64"].map((architecture, index) => ({
      ...image(files, index + 1, { architecture }),
      platform: { os: "linux", architecture },
    }));
    const inner = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: entries }));
    for (const index of [
      entries,
      [{ mediaType: "application/vnd.oci.image.index.v1+json", ...put(files, inner) }],
    ]) {
      const path = await file(tarOfFiles(layout(files, ...index)));
      expect((await read(path)).manifestDigest).toBe(entries[1]?.digest);
      expect(await failure(path, { platform: { os: "linux", architecture: "s390x" } })).toMatchObject({
        code: "IMAGE_PLATFORM_NOT_FOUND",
      });
    }
  });

  it("of several images gives the one that is named, and names them where none is", async () => {
    const files: Files = new Map();
    const entries = [image(files, 1, { ref: "one" }), image(files, 2, { ref: "two" })];
    const path = await file(tarOfFiles(layout(files, ...entries)));
    expect((await read(path, { image: "two" })).manifestDigest).toBe(entries[1]?.digest);
    expect(await failure(path)).toMatchObject({
      code: "AMBIGUOUS_REFERENCE",
      message: expect.stringContaining('"one", "two"') as string,
      hint: expect.stringContaining('--image "one"') as string,
    });
    expect(await failure(path, { image: "three" })).toMatchObject({
      code: "IMAGE_NOT_FOUND",
      hint: expect.stringContaining('"one"') as string,
    });
  });
});

describe("what is no archive of an image", () => {
  const hasCode = async (bytes: Buffer, code: string, says: string): Promise<void> => {
    const { code: found, message, hint } = await failure(await file(bytes));
    expect([found, `${message} ${hint}`]).toEqual([code, expect.stringContaining(says)]);
  };

  it("is refused by what it is", async () => {
    const whole = tarOfFiles(simple());
    await hasCode(Buffer.alloc(0), "IMAGE_ARCHIVE_INVALID", "no index.json");
    await hasCode(Buffer.from("no tar at all".repeat(100)), "IMAGE_ARCHIVE_INVALID", "damaged");
    await hasCode(gzipSync(whole), "IMAGE_ARCHIVE_INVALID", "gunzip");
    await hasCode(Buffer.from("28b52ffd0000", "hex"), "IMAGE_ARCHIVE_INVALID", "unzstd");
    const old = new Map([["manifest.json", Buffer.from("[]")]]);
    await hasCode(tarOfFiles(old), "IMAGE_FORMAT_NOT_SUPPORTED", "skopeo copy docker-archive:");
    const other = simple().set("oci-layout", Buffer.from('{"imageLayoutVersion":"2.0.0"}'));
    await hasCode(tarOfFiles(other), "IMAGE_ARCHIVE_INVALID", "version 1");
    await hasCode(tarOfFiles(simple().set("index.json", Buffer.from("{"))), "IMAGE_MANIFEST_INVALID", "JSON");
    await hasCode(tarOfFiles(layout(new Map())), "IMAGE_NOT_FOUND", "no image");
    expect(await failure(join(directory, "none"))).toMatchObject({ code: "IMAGE_ARCHIVE_INVALID" });
    await complete("mkfifo", [join(directory, "pipe")]);
    expect(await failure(join(directory, "pipe"))).toMatchObject({ code: "IMAGE_ARCHIVE_INVALID" });
  });

  it("is refused wherever it is cut off", async () => {
    const whole = tarOfFiles(simple());
    for (const share of [0.1, 0.5, 0.9]) {
      await hasCode(
        whole.subarray(0, Math.floor((whole.length * share) / 512) * 512 + 100),
        "IMAGE_ARCHIVE_INVALID",
        "",
      );
    }
  });

  it("is refused where a blob has another digest or size, or is missing", async () => {
    for (const [which, code] of [
      ["changed", "BLOB_DIGEST_MISMATCH"],
      ["longer", "BLOB_SIZE_MISMATCH"],
      ["missing", "BLOB_NOT_FOUND"],
      ["a link", "BLOB_NOT_FOUND"],
    ] as const) {
      for (const at of [0, 2, 3]) {
        const files = simple();
        const [name = "", bytes = Buffer.alloc(0)] = [...files][at] ?? [];
        const changed = Buffer.from(bytes);
        changed[20] = (changed[20] ?? 0) ^ 1;
        files.delete(name);
        if (which === "changed") files.set(name, changed);
        if (which === "longer") files.set(name, Buffer.concat([bytes, bytes]));
        const link =
          which === "a link" ? [entry(name, Buffer.alloc(0), "2", { linkName: "/etc/passwd" })] : [];
        const error = await failure(await file(tarOfFiles(files, ...link)));
        // A document of another length is read before its size can be compared.
        expect(error.code).toBe(which === "longer" && at === 3 ? "BLOB_DIGEST_MISMATCH" : code);
        expect(error.hint).toContain("anew");
        await store.prune([]);
      }
    }
  });

  it("never opens a name that is not of an image, and takes none twice", async () => {
    const evil = [
      entry("../../../etc/passwd", Buffer.from("evil")),
      entry("/etc/passwd", Buffer.from("evil")),
      entry(`blobs/sha256/../../${"0".repeat(64)}`, Buffer.from("evil")),
      entry("blobs", Buffer.alloc(0), "2", { linkName: "/etc" }),
      entry("hard", Buffer.alloc(0), "1", { linkName: "/etc/shadow" }),
      entry("sparse", Buffer.from("x"), "S"),
    ];
    await isWhole(await read(await file(tarOfFiles(simple(), ...evil))));
    expect((await readdir(directory)).sort()).toEqual(["image.tar", "store"]);
    await hasCode(
      tarOfFiles(simple(), entry("./index.json", Buffer.from("{}"))),
      "IMAGE_ARCHIVE_INVALID",
      "twice",
    );
  });

  it("ends a bomb of entries, of a long name, of a long index and of a size beyond its end", async () => {
    const one = entry("x", Buffer.alloc(0));
    const many = Buffer.concat(Array.from({ length: LIMITS.archiveEntries + 1 }, () => one));
    await hasCode(many, "IMAGE_ARCHIVE_INVALID", String(LIMITS.archiveEntries));
    await hasCode(
      entry("x", Buffer.alloc(LIMITS.archiveHeaderBytes + 1), "L"),
      "IMAGE_ARCHIVE_INVALID",
      "too long",
    );
    const index = Buffer.alloc(LIMITS.imageManifestBytes + 1, " ");
    await hasCode(
      tarOfFiles(simple().set("index.json", index)),
      "IMAGE_LIMIT_EXCEEDED",
      String(LIMITS.imageManifestBytes),
    );
    const huge = encodeTarHeader(tarEntry("blobs", "0", { size: 2 ** 50 }));
    await hasCode(Buffer.concat([huge, Buffer.alloc(4096)]), "IMAGE_ARCHIVE_INVALID", "in the middle");
  });

  it("is refused as a directory whose files are links or no files", async () => {
    const path = await directoryOf(simple());
    await rename(join(path, "index.json"), join(directory, "elsewhere.json"));
    await symlink(join(directory, "elsewhere.json"), join(path, "index.json"));
    expect(await failure(path)).toMatchObject({ code: "IMAGE_ARCHIVE_INVALID" });
    await rm(join(path, "index.json"));
    await rename(join(directory, "elsewhere.json"), join(path, "index.json"));
    await rename(join(path, "blobs/sha256"), join(directory, "sha256"));
    await symlink(join(directory, "sha256"), join(path, "blobs/sha256"));
    expect(await failure(path)).toMatchObject({ message: expect.stringContaining("are a link") as string });
  });
});

it("Ten readers of one archive take it in once, and one that is ended ends alone", async () => {
  const path = await file(tarOfFiles(simple()));
  const controller = new AbortController();
  const ended = read(path, { signal: controller.signal }).catch(
    (error: unknown) => PyroError.from(error).code,
  );
  const others = Array.from({ length: 10 }, () => read(path));
  controller.abort(new PyroError("CANCELLED", "enough", { hint: "again" }));
  expect(await ended).toBe("CANCELLED");
  const images = await Promise.all(others);
  expect(new Set(images.map(({ manifestDigest }) => manifestDigest)).size).toBe(1);
  await truncate(path, 0);
});
