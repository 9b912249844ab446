import {
  commitFiles,
  downloadFile,
  editFile,
  extractTar,
  listChanges,
  listFiles,
  packTar,
  uploadFile,
} from "../guest/index.js";
import type { WorkspaceFiles } from "../workspace/index.js";
import type { BootedMachine } from "./machines.js";

const WITHIN = "/workspace";

/** The files of a machine's workspace: whatever path is given, nothing outside of /workspace is reached. */
export function guestFiles(booted: BootedMachine): WorkspaceFiles {
  const bound = (options: { readonly signal?: AbortSignal | undefined } = {}) => ({
    within: WITHIN,
    ...signalOf(options),
  });
  return {
    list: async (path, { recursive, maxEntries, ...options }) => {
      const listing = await listFiles(booted.guest, path, { ...bound(options), recursive, maxEntries });
      return { entries: listing.entries, truncated: listing.isTruncated };
    },
    read: async (path, { offset = 0, maxBytes = 0, tree = "active", ...options }) =>
      await downloadFile(booted.guest, path, {
        ...bound(options),
        ...(tree === "baseline" ? { tree } : {}),
        ...(maxBytes === 0 ? {} : { maxBytes }),
        offset,
      }),
    write: async (path, content, options) => await uploadFile(booted.guest, path, content, bound(options)),
    edit: async (path, change, options) =>
      await editFile(booted.guest, path, { ...bound(options), ...change }),
    extract: async (directory, tar, options) =>
      await extractTar(booted.guest, directory, tar, bound(options)),
    pack: async (path, options) => await packTar(booted.guest, path, bound(options)),
    commit: async (steps, options) => await commitFiles(booted.guest, steps, bound(options)),
    changes: async (below, options = {}) => {
      const { changes, isTruncated } = await listChanges(booted.guest, WITHIN, {
        below,
        ...signalOf(options),
      });
      const all = changes.map(({ isModeOnly, ...change }) => ({ ...change, modeOnly: isModeOnly }));
      return { changes: all, truncated: isTruncated };
    },
  };
}

function signalOf({ signal }: { readonly signal?: AbortSignal | undefined }): { signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}
