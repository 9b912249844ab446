import { describe, expect, it } from "vitest";
import { LIMITS } from "../../../src/protocol/index.js";
import { digestOf } from "../../../src/oci/digest.js";
import { parseImageConfig } from "../../../src/oci/image-config.js";
import { parseDocument, type ImageIndex } from "../../../src/oci/manifest.js";
import { compressionByMagic } from "../../../src/oci/media-types.js";
import { choose } from "../../../src/oci/platform.js";

const OCI = "application/vnd.oci.image";
const DOCKER = "application/vnd.docker.distribution.manifest";
const DIGEST = digestOf(Buffer.from("x"));
const config = { mediaType: `${OCI}.config.v1+json`, digest: DIGEST, size: 2 };
const layer = { mediaType: `${OCI}.layer.v1.tar+gzip`, digest: DIGEST, size: 3 };
const manifest = { schemaVersion: 2, config, layers: [layer] };
const bytes = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const read = (value: unknown, told?: string) => parseDocument("x:1", bytes(value), told);
const failure = (code: string, text: string): Error =>
  expect.objectContaining({ code, message: expect.stringContaining(text) as string }) as Error;

describe("a manifest", () => {
  it("is read whatever its dialect, and its layers keep their order and packing", () => {
    const types = ["tar", "tar+gzip", "tar+zstd"].map((end) => `${OCI}.layer.v1.${end}`);
    const layers = [...types, "application/vnd.docker.image.rootfs.diff.tar.gzip"].map((mediaType) => ({
      ...layer,
      mediaType,
    }));
    const parsed = read({ ...manifest, mediaType: `${DOCKER}.v2+json`, layers });
    expect(parsed).toMatchObject({ kind: "manifest", config: { sizeBytes: 2 } });
    expect(parsed.kind === "manifest" && parsed.layers.map(({ compression }) => compression)).toEqual([
      "none",
      "gzip",
      "zstd",
      "gzip",
    ]);
  });

  it("loses the addresses that a layer names besides: they are never asked", () => {
    const foreign = { ...layer, urls: ["http://evil.example.org/x"] };
    expect(JSON.stringify(read({ ...manifest, layers: [foreign] }))).not.toContain("evil");
  });

  it.each([
    ["no JSON", Buffer.from("{"), "it is no JSON object"],
    ["invalid UTF-8", Buffer.from([0x22, 0xff, 0x22]), "it is no JSON object"],
    ["a list", bytes([]), "it is no JSON object"],
    ["no version", bytes({}), "schemaVersion"],
    ["both kinds at once", bytes({ ...manifest, manifests: [] }), "both an index and a manifest"],
    [
      "another kind than its type",
      bytes({ ...manifest, mediaType: `${OCI}.index.v1+json` }),
      "of the other kind",
    ],
    ["a negative size", bytes({ ...manifest, layers: [{ ...layer, size: -1 }] }), "layers.0.size"],
    ["a size beyond numbers", bytes({ ...manifest, layers: [{ ...layer, size: 1e300 }] }), "layers.0.size"],
    [
      "a digest that is a path",
      bytes({ ...manifest, config: { ...config, digest: "sha256:../x" } }),
      "no digest",
    ],
    ["no layers", bytes({ schemaVersion: 2, config }), "layers"],
  ])("is refused with %s", (_, content, problem) => {
    expect(() => parseDocument("x:1", content, undefined)).toThrow(
      failure("IMAGE_MANIFEST_INVALID", problem),
    );
  });

  it("is refused where it says another type than what led to it", () => {
    expect(() => read({ ...manifest, mediaType: `${DOCKER}.v2+json` }, `${OCI}.manifest.v1+json`)).toThrow(
      failure("IMAGE_MANIFEST_INVALID", "what led to it says"),
    );
    expect(() => read(manifest, `${OCI}.index.v1+json`)).toThrow(
      failure("IMAGE_MANIFEST_INVALID", "other kind"),
    );
    expect(read(manifest, "application/json")).toMatchObject({ kind: "manifest" });
  });

  it.each([
    [{ schemaVersion: 1, name: "x", fsLayers: [] }, undefined, "schema 1"],
    [{}, `${DOCKER}.v1+prettyjws`, "schema 1"],
    [
      { ...manifest, config: { ...config, mediaType: "application/vnd.cncf.helm.config.v1+json" } },
      undefined,
      "artifact",
    ],
    [{ ...manifest, layers: [{ ...layer, mediaType: "text/x\u001b[2J" }] }, undefined, '"text/x\\u001b[2J"'],
    [{ ...manifest, mediaType: "application/x" }, undefined, 'media type is "application/x"'],
  ])("%# of a kind that is no image is refused by its name", (content, told, problem) => {
    expect(() => read(content, told)).toThrow(failure("IMAGE_FORMAT_NOT_SUPPORTED", problem));
  });

  it.each([
    ["imageLayers", { ...manifest, layers: new Array(LIMITS.imageLayers + 1).fill(layer) }],
    ["imageLayerBytes", { ...manifest, layers: [{ ...layer, size: LIMITS.imageLayerBytes + 1 }] }],
    ["imageBytes", { ...manifest, layers: new Array(3).fill({ ...layer, size: LIMITS.imageLayerBytes }) }],
    ["imageConfigBytes", { ...manifest, config: { ...config, size: LIMITS.imageConfigBytes + 1 } }],
    [
      "imageIndexEntries",
      { schemaVersion: 2, manifests: new Array(LIMITS.imageIndexEntries + 1).fill(layer) },
    ],
  ])("beyond %s is refused by the bound's name", (which, content) => {
    expect(() => read(content)).toThrow(
      expect.objectContaining({
        code: "IMAGE_LIMIT_EXCEEDED",
        details: expect.objectContaining({ limit: which }) as unknown,
      }) as Error,
    );
  });
});

describe("an index", () => {
  const entry = (digest: string, platform?: object, more: object = {}): object => ({
    ...{ mediaType: `${OCI}.manifest.v1+json`, digest: digestOf(Buffer.from(digest)), size: 1, ...more },
    ...(platform === undefined ? {} : { platform }),
  });
  const amd64 = { os: "linux", architecture: "amd64" };
  const pick = (
    manifests: object[],
    wanted: { os: string; architecture: string; variant?: string } = amd64,
  ) => choose("x:1", read({ schemaVersion: 2, manifests }) as ImageIndex, wanted).digest;

  it("gives the first image that fits, past attestations, other systems and duplicates", () => {
    expect(
      pick([
        entry("attestation", { os: "unknown", architecture: "unknown" }),
        entry("proof", amd64, { annotations: { "vnd.docker.reference.type": "attestation-manifest" } }),
        entry("windows", { os: "windows", architecture: "amd64" }),
        entry("newer", { ...amd64, variant: "v3" }),
        entry("one", amd64),
        entry("other", amd64),
      ]),
    ).toBe(digestOf(Buffer.from("one")));
  });

  it("knows which variant a name means by itself", () => {
    const entries = [
      entry("v7", { os: "linux", architecture: "arm", variant: "v7" }),
      entry("v8", { os: "linux", architecture: "arm64", variant: "v8" }),
      entry("v3", { os: "linux", architecture: "amd64", variant: "v3" }),
    ];
    expect(pick(entries, { os: "linux", architecture: "arm64" })).toBe(digestOf(Buffer.from("v8")));
    expect(pick(entries, { os: "linux", architecture: "amd64", variant: "v3" })).toBe(
      digestOf(Buffer.from("v3")),
    );
    expect(() => pick(entries)).toThrow(
      failure(
        "IMAGE_PLATFORM_NOT_FOUND",
        "not there for linux/amd64, only for: linux/arm/v7 linux/arm64/v8 linux/amd64/v3",
      ),
    );
  });

  it("without platforms has one image or none that can be told", () => {
    expect(pick([entry("only")])).toBe(digestOf(Buffer.from("only")));
    expect(() => pick([entry("a"), entry("b")])).toThrow(failure("IMAGE_PLATFORM_NOT_FOUND", "linux/amd64"));
    expect(() => pick([])).toThrow(failure("IMAGE_PLATFORM_NOT_FOUND", "linux/amd64"));
  });

  it("shows the platforms that a registry names as text only", () => {
    expect(() => pick([entry("x", { os: "\u001b]0;x\u0007", architecture: "a" })])).toThrow(
      failure("IMAGE_PLATFORM_NOT_FOUND", "\\u001b]0;x\\u0007/a"),
    );
  });
});

describe("a configuration", () => {
  const base = { os: "linux", architecture: "amd64", rootfs: { type: "layers", diff_ids: [DIGEST] } };
  const parse = (value: unknown, layers = 1) => parseImageConfig("x:1", bytes(value), layers);

  it("has nothing where the image says nothing", () => {
    const nothing = {
      env: [],
      user: "",
      workingDir: "",
      entrypoint: [],
      cmd: [],
      stopSignal: "",
      labels: {},
    };
    expect(parse(base)).toMatchObject(nothing);
    expect(parse({ ...base, config: null })).toMatchObject(nothing);
    expect(
      parse({ ...base, config: { Env: null, Cmd: null, Labels: null, Volumes: { "/x": {} } } }),
    ).toMatchObject(nothing);
  });

  it("is read as it stands, and a command that is a bare string is its only word, as docker has it", () => {
    const settings = {
      Env: ["PATH=/bin", "EMPTY=", "A=b=c"],
      User: "1000:staff",
      WorkingDir: "/w",
      Entrypoint: ["/e", ""],
    };
    expect(
      parse({ ...base, variant: "v1", config: { ...settings, Cmd: "echo hi", StopSignal: "SIGINT" } }),
    ).toEqual({
      platform: { os: "linux", architecture: "amd64", variant: "v1" },
      env: settings.Env,
      user: "1000:staff",
      workingDir: "/w",
      entrypoint: ["/e", ""],
      cmd: ["echo hi"],
      stopSignal: "SIGINT",
      labels: {},
      diffIds: [DIGEST],
    });
  });

  it.each([
    [
      "another number of layers",
      { ...base, rootfs: { type: "layers", diff_ids: [] } },
      "it has 0 layers, and the manifest 1",
    ],
    ["no layers at all", { os: "linux", architecture: "amd64" }, "rootfs"],
    [
      "a diff_id that is none",
      { ...base, rootfs: { type: "layers", diff_ids: ["sha256:x"] } },
      "rootfs.diff_ids",
    ],
    ["a variable without a name", { ...base, config: { Env: ["A=b", "=x"] } }, "entry 2 of its Env"],
    ["a variable without a value", { ...base, config: { Env: ["A"] } }, "entry 1 of its Env"],
    ["a NUL", { ...base, config: { Cmd: ["a\0b"] } }, "config.Cmd"],
    [
      "a huge variable",
      { ...base, config: { Env: [`A=${"x".repeat(LIMITS.argumentBytes)}`] } },
      "config.Env",
    ],
    [
      "too many variables",
      { ...base, config: { Env: new Array(30).fill(`A=${"x".repeat(100_000)}`) } },
      "its Env has 30 entries",
    ],
    ["a user that is a number", { ...base, config: { User: 5 } }, "config.User"],
    ["no system", { ...base, os: undefined }, "os"],
  ])("with %s is refused", (_, value, problem) => {
    expect(() => parse(value)).toThrow(failure("IMAGE_CONFIG_INVALID", problem));
  });

  it("that is no JSON is refused", () => {
    expect(() => parseImageConfig("x:1", Buffer.from("nope"), 0)).toThrow(
      failure("IMAGE_CONFIG_INVALID", ""),
    );
  });
});

it("how a layer is packed can be told by its first bytes", () => {
  expect(compressionByMagic(Buffer.from("1f8b0800", "hex"))).toBe("gzip");
  expect(compressionByMagic(Buffer.from("28b52ffd00", "hex"))).toBe("zstd");
  expect(compressionByMagic(Buffer.from("etc/"))).toBe("none");
  expect(compressionByMagic(Buffer.alloc(0))).toBe("none");
});
