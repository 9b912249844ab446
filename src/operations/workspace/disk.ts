import * as z from "zod";
import { snakeKeys } from "../fields.js";
import { defineOperation } from "../operation.js";
import { formatBytes, visibleName } from "../text.js";
import { toFileList, toFileView, workspaceFileList, workspaceFileRead } from "./files.js";
import { workspaceId } from "./record.js";
import { FULL } from "./tool-sets.js";

const STOPPED = "Of a stopped workspace, which stays stopped: nothing on the disk is run.";

/** `pyro workspace disk list`, `workspace_disk_list`, `listWorkspaceDisk`. */
export const workspaceDiskList = defineOperation({
  ...workspaceFileList,
  name: "workspace_disk_list",
  command: ["workspace", "disk", "list"],
  summary: "List files on the disk of a stopped workspace",
  description: `${STOPPED} Absolute paths are those of the whole disk.`,
  profiles: FULL,
  examples: [{ command: "pyro workspace disk list fix-1 /etc", says: "the whole disk can be looked at" }],
  run: async ({ workspace_id: id, path, recursive }, { pyro, signal }) =>
    toFileList(await pyro.listWorkspaceDisk({ workspaceId: id, path, recursive }, { signal })),
});

/** `pyro workspace disk read`, `workspace_disk_read`, `readWorkspaceDisk`. */
export const workspaceDiskRead = defineOperation({
  ...workspaceFileRead,
  name: "workspace_disk_read",
  command: ["workspace", "disk", "read"],
  summary: "Read a text file on the disk of a stopped workspace",
  description: `${STOPPED} Bytes that are no UTF-8 are shown as U+FFFD.`,
  profiles: FULL,
  examples: [{ command: "pyro workspace disk read fix-1 /etc/hosts --content-only", says: "to pipe it on" }],
  run: async (given, { pyro, signal }) => {
    const { workspace_id: id, path, offset, max_bytes: maxBytes } = given;
    return toFileView(
      given,
      await pyro.readWorkspaceDisk({ workspaceId: id, path, offset, maxBytes }, { signal }),
    );
  },
});

/** `pyro workspace disk export`, `workspace_disk_export`, `exportWorkspaceDisk`. */
export const workspaceDiskExport = defineOperation({
  name: "workspace_disk_export",
  command: ["workspace", "disk", "export"],
  summary: "Bring the disk of a stopped workspace to this host as one raw ext4 image",
  description:
    "The file is sparse, stands there whole or not at all, and replaces nothing without --overwrite. A guest wrote what is in " +
    "it: do not mount it on a host that you care about.",
  profiles: FULL,
  kind: "write",
  input: z.strictObject({
    workspace_id: workspaceId(),
    output_path: z.string().min(1).max(4096).describe("Where the image is to stand on this host"),
    overwrite: z.boolean().default(false).describe("Replace what is there"),
  }),
  /** Null while it goes on: only for faces that do not wait for its end. */
  output: z
    .object({ output_path: z.string(), disk_format: z.literal("ext4"), bytes_written: z.number() })
    .nullable(),
  positionals: ["workspace_id"],
  commandLineNames: { output_path: "output" },
  examples: [
    { command: "pyro workspace disk export fix-1 --output ./fix-1.ext4", says: "16 GiB, mostly holes" },
  ],
  run: async ({ workspace_id: id, output_path: output, overwrite }, { pyro, signal, hostPath, waitMs }) => {
    const outputPath = await hostPath(output);
    const exported = await pyro.exportWorkspaceDisk(
      { workspaceId: id, outputPath, overwrite, waitMs },
      { signal },
    );
    return snakeKeys(exported) as never;
  },
  render: (view) =>
    view === null
      ? "the export goes on; `pyro workspace status` waits for it"
      : `${view.disk_format} image at ${visibleName(view.output_path)}: ${formatBytes(view.bytes_written)}, holes included`,
});
