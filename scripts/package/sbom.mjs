import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const BUNDLE_FILES = ["vmlinux", "initramfs.cpio", "pyro-hold", "empty.qcow2"].map(
  (name) => `runtime/bundle/${name}`,
);

/**
 * The bill of materials of the package (CycloneDX 1.5): what `npm sbom` says of the npm packages in it, the Go modules,
 * Linux, and the files of the runtime bundle with their SHA-256. It has no time and no serial number: same package, same
 * bytes.
 */
export function sbom(found) {
  const { name, version, description, license } = JSON.parse(
    readFileSync(join(root, "package.json"), "utf8"),
  );
  const said = JSON.parse(
    execFileSync("npm", ["sbom", "--sbom-format", "cyclonedx"], {
      ...{ cwd: root, encoding: "utf8", maxBuffer: 64 << 20, stdio: ["ignore", "pipe", "ignore"] },
    }),
  );
  const known = new Map(said.components.map((component) => [component.purl, component]));
  const components = [
    ...found.map((part) => component(part, known.get(part.purl))),
    ...BUNDLE_FILES.map(file),
  ];
  const self = {
    ...{ "bom-ref": `${name}@${version}`, type: "application", name, version, description },
    ...{ purl: `pkg:npm/${name}@${version}`, licenses: [{ license: { id: license } }] },
  };
  return {
    $schema: said.$schema,
    ...{ bomFormat: said.bomFormat, specVersion: said.specVersion, version: 1 },
    metadata: { lifecycles: [{ phase: "build" }], component: self },
    components,
    dependencies: [
      { ref: self["bom-ref"], dependsOn: components.map((one) => one["bom-ref"]) },
      ...components.map((one) => ({ ref: one["bom-ref"] })),
    ],
  };
}

function component({ kind, name, version, licence, purl, where }, said) {
  const licences = licence.includes(" ") ? [{ expression: licence }] : [{ license: { id: licence } }];
  return {
    ...{ "bom-ref": purl, type: kind === "linux" ? "operating-system" : "library", name, version, purl },
    ...(said?.description === undefined ? {} : { description: said.description }),
    ...(said?.hashes === undefined ? {} : { hashes: said.hashes }),
    licenses: licences,
    ...((said?.externalReferences ?? []).length === 0 ? {} : { externalReferences: references(said) }),
    properties: [{ name: "pyro:where", value: where }],
  };
}

/** Where it is at home; not the registry that this machine has it from. */
function references(said) {
  return said.externalReferences.filter(({ type }) => type !== "distribution");
}

function file(path) {
  const content = createHash("sha256")
    .update(readFileSync(join(root, path)))
    .digest("hex");
  return { "bom-ref": path, type: "file", name: path, hashes: [{ alg: "SHA-256", content }] };
}
