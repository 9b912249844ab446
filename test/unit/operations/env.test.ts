import { expect, it } from "vitest";
import { ago, secondsOf } from "../../../src/operations/env/age.js";
import { envInspect } from "../../../src/operations/env/inspect.js";
import { envList } from "../../../src/operations/env/list.js";

const SUMMARY = {
  ...{ name: "docker.io/library/python:3.12-slim", description: "an image of a registry", installed: true },
  ...{
    source: "image",
    digest: `sha256:${"ab".repeat(32)}`,
    size_bytes: 178_000_000,
    download_bytes: 31_000_000,
  },
  ...{ template: "warm" as const, shared_size_bytes: 28_000_000, last_used_at: null },
};
const NOW = Date.parse("2026-01-31T12:00:00Z");

it("A list fits 80 columns, whatever the names are", () => {
  const own = { ...SUMMARY, name: "my-tools:1", source: "workspace", shared_size_bytes: 0, installed: false };
  const long = "word ".repeat(40).trim();
  const absent = { ...SUMMARY, name: "debian:12", installed: false, digest: null, description: long };
  const lines = envList.render({ catalog_version: "1", environments: [SUMMARY, own, absent] }).split("\n");
  expect(lines.slice(0, 6)).toEqual([
    "ENVIRONMENT  SOURCE     SIZE     SHARED  LAST USE  TEMPLATE  DIGEST",
    "docker.io/library/python:3.12-slim",
    "             image      178 MB   28 MB   -         warm      abababababab",
    "my-tools:1   workspace  damaged  -       -         warm      abababababab",
    "",
    "not on this host:",
  ]);
  expect(lines[6]).toBe("  debian:12 (fetches 31 MB)");
  for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
});

it("A host without environments is told what to type", () => {
  expect(envList.render({ catalog_version: "1", environments: [] })).toContain("`pyro env pull debian:12`");
});

it("An inspection shows how an environment was made, its layers and its configuration, and obeys none of it", () => {
  const origin = {
    ...{ reference: SUMMARY.name, manifest_digest: `sha256:${"cd".repeat(32)}` },
    layers: [1, 2].map((n) => ({ digest: `sha256:${`0${n}`.repeat(32)}`, size_bytes: n * 1_000_000 })),
  };
  const config = {
    ...{ env: ["PATH=/bin", "EVIL=\u001b[2J\n"], user: "app", working_dir: "/app" },
    ...{ entrypoint: ["/run me"], cmd: [] },
  };
  const details = {
    ...{ ...SUMMARY, packages: [], created_at: "2026-01-01T00:00:00.000Z", image_path: "/cache/image" },
    ...{ recipe: "x", origin, config, saved_from: null },
  };
  const text = envInspect.render(details);
  for (const line of [
    `made from     ${SUMMARY.name}`,
    `layers (2)    ${origin.layers[0]?.digest ?? ""} 1.0 MB`,
    'entrypoint    ["/run me"]',
    "variables     PATH=/bin\n              EVIL=^[[2J^J",
  ])
    expect(text).toContain(line);
  const saved = {
    ...details,
    origin: null,
    config: null,
    saved_from: { workspace_id: "ws-1", environment: "e" },
  };
  expect(envInspect.render(saved)).toContain("made from     workspace ws-1 of e");
});

it("An age is a number and a unit", () => {
  expect(["90m", "12h", "30d", "2w"].map(secondsOf)).toEqual([5_400, 43_200, 2_592_000, 1_209_600]);
});

it("A moment is told by how long ago it was", () => {
  const at = (ms: number): string => ago(new Date(NOW - ms).toISOString(), NOW);
  const [minute, hour] = [60_000, 3_600_000];
  expect([at(0), at(5 * minute), at(47 * hour), at(72 * hour), ago(null)]).toEqual([
    ...["now", "5 min", "47 h", "3 days", "-"],
  ]);
  // A clock that was set back.
  expect(at(-hour)).toBe("now");
});
