import { isUtf8 } from "node:buffer";
import * as z from "zod";
import { PyroError } from "../../protocol/index.js";
import type { WorkspaceFileContent, WorkspaceFileList } from "../../sdk/index.js";
// Not by the index: the client and what it is made of would be loaded before anybody needs them.
import { completeUtf8Prefix } from "../../sdk/utf8.js";
import { defineOperation } from "../operation.js";
import { formatBytes, formatCount, formatTable, visible, visibleName } from "../text.js";
import { workspaceId } from "./record.js";
import { artifactType } from "./transfer-record.js";
import { CORE, CORE_AND_INSPECT } from "./tool-sets.js";

const guestPath = (): z.ZodString =>
  z.string().max(4096).describe("Path in the workspace; relative ones lie under /workspace");

const fileList = z.object({
  path: z.string(),
  entries: z.array(
    z.object({
      path: z.string(),
      artifact_type: artifactType,
      size_bytes: z.number(),
      link_target: z.string().nullable(),
    }),
  ),
  truncated: z.boolean(),
});

const fileView = z.object({
  path: z.string(),
  content: z.string(),
  size_bytes: z.number(),
  offset: z.number(),
  shown_bytes: z.number(),
  next_offset: z.number(),
  truncated: z.boolean(),
  /** Bytes that are no UTF-8 are shown as U+FFFD. */
  replaced: z.boolean(),
  content_only: z.boolean(),
});

/** `pyro workspace file list`, `workspace_file_list`, `listWorkspaceFiles`. */
export const workspaceFileList = defineOperation({
  name: "workspace_file_list",
  command: ["workspace", "file", "list"],
  summary: "List files of a workspace",
  description: "",
  profiles: CORE_AND_INSPECT,
  kind: "read",
  input: z.strictObject({
    workspace_id: workspaceId(),
    path: guestPath().default("/workspace"),
    recursive: z.boolean().default(false).describe("All the way down; links are not followed"),
  }),
  output: fileList,
  positionals: ["workspace_id", "path"],
  examples: [{ command: "pyro workspace file list fix-1 src --recursive", says: "all below src" }],
  run: async ({ workspace_id: id, path, recursive }, { pyro, signal }) => {
    return toFileList(await pyro.listWorkspaceFiles({ workspaceId: id, path, recursive }, { signal }));
  },
  render: ({ entries, truncated }) =>
    entries.length === 0
      ? "empty"
      : [
          formatTable(
            entries.map((entry) => [
              entry.artifact_type === "file" ? formatBytes(entry.size_bytes) : entry.artifact_type,
              visibleName(entry.link_target === null ? entry.path : `${entry.path} -> ${entry.link_target}`),
            ]),
          ),
          ...(truncated ? ["… and more: list a directory further down"] : []),
        ].join("\n"),
});

/** `pyro workspace file read`, `workspace_file_read`, `readWorkspaceFile`. */
export const workspaceFileRead = defineOperation({
  name: "workspace_file_read",
  command: ["workspace", "file", "read"],
  summary: "Read a text file of a workspace",
  description: "Bytes that are no UTF-8 are shown as U+FFFD; export brings a file as it is.",
  profiles: CORE_AND_INSPECT,
  kind: "read",
  input: z.strictObject({
    workspace_id: workspaceId(),
    path: guestPath(),
    offset: z.int().min(0).max(Number.MAX_SAFE_INTEGER).default(0).describe("First byte to show"),
    max_bytes: z.int().min(1).max(65_536).default(65_536).describe("Most bytes to show"),
    content_only: z.boolean().default(false).describe("Print the content and nothing else"),
  }),
  output: fileView,
  positionals: ["workspace_id", "path"],
  notInTool: ["content_only"],
  examples: [{ command: "pyro workspace file read fix-1 src/app.py --content-only", says: "to pipe it on" }],
  run: async (given, { pyro, signal }) => {
    const { workspace_id: id, path, offset, max_bytes: maxBytes } = given;
    return toFileView(
      given,
      await pyro.readWorkspaceFile({ workspaceId: id, path, offset, maxBytes }, { signal }),
    );
  },
  render: (view) => {
    const body = view.content.replace(/\n$/, "");
    if (view.content_only) return body;
    const next = view.truncated ? `; --offset ${view.next_offset} reads on` : "";
    const replaced = view.replaced ? "; not all of it is UTF-8, export brings it as it is" : "";
    return `${visible(body)}\n[${view.shown_bytes} of ${view.size_bytes} bytes${next}${replaced}]`;
  },
});

/** `pyro workspace file write`, `workspace_file_write`, `writeWorkspaceFile`. */
export const workspaceFileWrite = defineOperation({
  name: "workspace_file_write",
  command: ["workspace", "file", "write"],
  summary: "Write a text file of a workspace, whole",
  description: "Parents are made; what was there is replaced in one step and keeps its mode.",
  profiles: CORE,
  kind: "write",
  input: z.strictObject({
    workspace_id: workspaceId(),
    path: guestPath(),
    text: z
      .string()
      .max(8 * 1024 * 1024)
      .optional()
      .describe("The whole new content"),
    text_file: z.string().max(4096).optional().describe("A file of this host with the content"),
  }),
  output: z.object({ path: z.string(), bytes_written: z.number() }),
  positionals: ["workspace_id", "path"],
  notInTool: ["text_file"],
  neededInTool: ["text"],
  examples: [{ command: "pyro workspace file write fix-1 notes.md --text 'done'", says: "no shell quoting" }],
  run: async (given, { pyro, signal, readHostFile }) => {
    const { workspace_id: id, path } = given;
    const content = await eitherOf("text", given.text, given.text_file, readHostFile);
    const written = await pyro.writeWorkspaceFile({ workspaceId: id, path, content }, { signal });
    return { path: written.path, bytes_written: written.bytesWritten };
  },
  render: ({ path, bytes_written: bytes }) => `${visibleName(path)}: ${formatBytes(bytes)} written`,
});

/** `pyro workspace file edit`, `workspace_file_edit`, `editWorkspaceFile`. */
export const workspaceFileEdit = defineOperation({
  name: "workspace_file_edit",
  command: ["workspace", "file", "edit"],
  summary: "Replace text in a file of a workspace",
  description:
    "The old text must be there exactly once, unless --replace-all. A file whose lines all end in CRLF stays so, also " +
    "where the texts are given without CRs.",
  profiles: CORE,
  kind: "write",
  input: z.strictObject({
    workspace_id: workspaceId(),
    path: guestPath(),
    old_text: z
      .string()
      .min(1)
      .max(256 * 1024)
      .describe("Text that is there, exactly, spaces and newlines included"),
    new_text: z
      .string()
      .max(256 * 1024)
      .describe("Text that replaces it"),
    replace_all: z.boolean().default(false).describe("Replace each occurrence"),
  }),
  output: z.object({
    path: z.string(),
    replacements: z.number(),
    size_bytes: z.number(),
    /** The texts were taken with the CRLF line ends of the file. */
    crlf: z.boolean(),
  }),
  positionals: ["workspace_id", "path"],
  examples: [
    {
      command: "pyro workspace file edit fix-1 app.py --old-text 'a - b' --new-text 'a + b'",
      says: "one place",
    },
  ],
  run: async (given, { pyro, signal }) => {
    const edited = await pyro.editWorkspaceFile(
      {
        workspaceId: given.workspace_id,
        path: given.path,
        oldText: given.old_text,
        newText: given.new_text,
        replaceAll: given.replace_all,
      },
      { signal },
    );
    const { path, replacements, sizeBytes, crlf } = edited;
    return { path, replacements, size_bytes: sizeBytes, crlf };
  },
  render: ({ path, replacements, crlf }) =>
    `${visibleName(path)}: ${formatCount(replacements, "place", "places")} changed${crlf ? ", with the CRLF line ends of the file" : ""}`,
});

/** `pyro workspace patch apply`, `workspace_patch_apply`, `applyWorkspacePatch`. */
export const workspacePatchApply = defineOperation({
  name: "workspace_patch_apply",
  command: ["workspace", "patch", "apply"],
  summary: "Apply a unified diff to a workspace: all of it or nothing",
  description: "",
  profiles: CORE,
  kind: "write",
  input: z.strictObject({
    workspace_id: workspaceId(),
    patch: z
      .string()
      .max(8 * 1024 * 1024)
      .optional()
      .describe("Unified diff; paths relative to /workspace, with or without a/ and b/"),
    patch_file: z.string().max(4096).optional().describe("A file of this host with the diff"),
  }),
  output: z.object({
    changed: z.boolean(),
    entries: z.array(z.object({ path: z.string(), change: z.string(), from: z.string().nullable() })),
  }),
  positionals: ["workspace_id"],
  notInTool: ["patch_file"],
  neededInTool: ["patch"],
  examples: [{ command: "pyro workspace patch apply fix-1 --patch-file fix.diff", says: "as git made it" }],
  run: async (given, { pyro, signal, readHostFile }) => {
    const patch = await eitherOf("patch", given.patch, given.patch_file, readHostFile);
    const applied = await pyro.applyWorkspacePatch({ workspaceId: given.workspace_id, patch }, { signal });
    return { changed: applied.changed, entries: [...applied.entries] };
  },
  render: ({ entries }) =>
    entries.length === 0
      ? "the patch changes nothing"
      : entries
          .map(({ path, change, from }) =>
            visibleName(from === null ? `${change} ${path}` : `${change} ${from} -> ${path}`),
          )
          .join("\n"),
});

/** The SDK's list with the contract's field names. */
export function toFileList({ path, entries, truncated }: WorkspaceFileList): z.output<typeof fileList> {
  const named = entries.map(({ path: name, artifactType: type, sizeBytes, linkTarget }) => ({
    ...{ path: name, artifact_type: type, size_bytes: sizeBytes, link_target: linkTarget },
  }));
  return { path, entries: named, truncated };
}

/** The SDK's window with the contract's field names, in whole characters. */
export function toFileView(
  given: { readonly path: string; readonly offset: number; readonly content_only: boolean },
  { data, sizeBytes, truncated }: WorkspaceFileContent,
): z.output<typeof fileView> {
  const shown = truncated ? wholeCharacters(data) : data;
  const { path, offset, content_only } = given;
  return {
    ...{ path, content: Buffer.from(shown).toString(), size_bytes: sizeBytes, offset, content_only },
    ...{ shown_bytes: shown.length, next_offset: offset + shown.length, truncated, replaced: !isUtf8(shown) },
  };
}

/** A character that a window cuts in two comes with the next one, unless the window has no room for any. */
function wholeCharacters(data: Uint8Array): Uint8Array {
  const whole = completeUtf8Prefix(data);
  return whole.length === 0 ? data : whole;
}

/** Exactly one of a value and a file of the host that holds it. */
async function eitherOf(
  name: string,
  value: string | undefined,
  file: string | undefined,
  readHostFile: (path: string) => Promise<Uint8Array>,
): Promise<string | Uint8Array> {
  if (value !== undefined && file === undefined) return value;
  if (file !== undefined && value === undefined) return await readHostFile(file);
  throw new PyroError("INVALID_ARGUMENT", `exactly one of ${name} and ${name}_file is needed`, {
    hint: `give the ${name} itself, or a file that holds it`,
  });
}
