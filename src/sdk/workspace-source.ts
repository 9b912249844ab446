import type { MessageInitShape } from "@bufbuild/protobuf";
import { isAbsolute } from "node:path";
import { PyroError } from "../protocol/index.js";
import type { SeedSourceSchema } from "../protocol/gen/pyro/daemon/v1/workspace_pb.js";

/** Where a workspace's files come from; paths are absolute, of the host. */
export type WorkspaceSource =
  /** A directory or an archive: everything in it. */
  | { readonly kind: "path"; readonly path: string }
  /** A Git checkout: its tracked and unignored files, as a repository of one commit. */
  | { readonly kind: "project"; readonly path: string; readonly include?: readonly string[] | undefined }
  /** A Git repository elsewhere, at a branch, tag or commit. */
  | { readonly kind: "repository"; readonly url: string; readonly ref?: string | undefined };

/** The source as the wire carries it. */
export function toSeedSource(source: WorkspaceSource): MessageInitShape<typeof SeedSourceSchema> {
  switch (source.kind) {
    case "path":
      return { source: { case: "path", value: requireAbsolute(source.path) } };
    case "project": {
      const value = { path: requireAbsolute(source.path), include: [...(source.include ?? [])] };
      return { source: { case: "project", value } };
    }
    case "repository":
      return { source: { case: "repository", value: { url: source.url, ref: source.ref ?? "" } } };
  }
}

/** The daemon has a working directory of its own. */
export function requireAbsolute(path: string): string {
  if (isAbsolute(path)) return path;
  throw new PyroError("INVALID_ARGUMENT", `the host path ${JSON.stringify(path)} is not absolute`, {
    hint: "give it from / on; `path.resolve` makes one",
  });
}
