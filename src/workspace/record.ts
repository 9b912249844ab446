import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { readJsonFile, writeFileAtomic } from "../kit/index.js";
import { environmentConfigSchema } from "./environment-config.js";
import type { NetworkPolicyText } from "./workspace-network.js";

/** Of a workspace's record; one of another format is left alone. */
const FORMAT = 1;

/** Bounds of what a caller may choose. */
export const NAME_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

const seedSchema = z.object({
  mode: z.enum(["empty", "directory", "tar_archive"]),
  seedPath: z.string().nullable(),
  originKind: z.string(),
  originRef: z.string().nullable(),
  entryCount: z.number(),
  bytes: z.number(),
});

const snapshotSchema = z.object({
  name: z.string(),
  createdAtMs: z.number(),
  /** The layers above the baseline that it is made of, the lowest first. */
  layers: z.array(z.string()),
  /** What it takes on the disk beyond the layers below its last one, its memory included. */
  bytes: z.number(),
  /** Where the running machine is, and the secrets that live processes held. Null: the disk alone. */
  memory: z
    .object({ id: z.string(), secrets: z.array(z.string()) })
    .nullable()
    .default(null),
});

const networkSchema = z.object({
  mode: z.enum(["off", "egress", "egress+published-ports"]),
  allow: z.array(z.string()).readonly(),
  deny: z.array(z.string()).readonly(),
  allowCidrs: z.array(z.string()).readonly(),
  allowHostPorts: z.array(z.number()).readonly(),
});

/** Of a workspace whose user said nothing. */
export const NO_NETWORK: NetworkPolicyText = {
  ...{ mode: "off", allow: [], deny: [], allowCidrs: [], allowHostPorts: [] },
};

const failureSchema = z.object({ code: z.string(), message: z.string(), hint: z.string() });

/**
 * What a workspace is, as its directory says it. It is written before what it says is begun, and again when that is
 * done, so that a daemon that finds it knows what an earlier one was doing.
 */
const recordSchema = z.object({
  format: z.literal(FORMAT),
  workspaceId: z.string(),
  name: z.string().nullable(),
  labels: z.record(z.string(), z.string()),
  environment: z.string(),
  /** "sha256:…" of the image below its layers; null while it is not known. */
  imageDigest: z.string().nullable(),
  /** What its environment said of commands when it was made; null: nothing. Its name may stand for another one since. */
  config: environmentConfigSchema.nullable().default(null),
  vcpuCount: z.number(),
  memMib: z.number(),
  ttlSeconds: z.number(),
  createdAtMs: z.number(),
  lastActivityAtMs: z.number(),
  /**
   * "created": it has neither machine nor layers yet, as VMs of the low level begin; "resetting": its active layer is to
   * be renewed, whatever it holds; "suspended": stopped, with its memory saved.
   */
  state: z.enum(["created", "creating", "started", "stopped", "suspended", "resetting", "failed"]),
  /** Why a stopped one stopped: it starts again by itself when it is used, unless the user stopped it. */
  stoppedBy: z.enum(["user", "ttl", "idle", "daemon", "crash", "reset"]).nullable(),
  /** Also when a failed one failed: its retention begins there. */
  stoppedAtMs: z.number().nullable(),
  /** Why it is failed, or how its machine was lost. */
  failure: failureSchema.nullable(),
  /** The machine that it runs in. */
  machineId: z.string().nullable(),
  isolation: z.enum(["kvm", "software"]).nullable(),
  seed: seedSchema,
  /** What may be told of them; their values are in a file of their own. */
  secrets: z.array(z.object({ name: z.string(), sourceKind: z.string() })).default([]),
  /** What its machine may reach, in the network room's words. */
  network: networkSchema.default(NO_NETWORK),
  /** What the user should know of how it came about. */
  warnings: z.array(z.string()),
  /** Sequence of the last command. */
  lastSequence: z.number(),
  reset: z.object({ count: z.number(), atMs: z.number().nullable(), snapshot: z.string().nullable() }),
  /** The one that it was forked from. */
  sourceWorkspaceId: z.string().nullable().default(null),
  /** Names of the secrets that live processes held when its memory was saved, or copied into it. */
  secretsInMemory: z.array(z.string()).default([]),
  /** What a reset that is begun goes back to. */
  resetTo: z.string().nullable().default(null),
  /** The sealed layers between baseline and active layer, the lowest first. */
  layers: z.array(z.string()).default([]),
  /** Oldest first. Their layers need not be among those of the active chain. */
  snapshots: z.array(snapshotSchema).default([]),
  /** How sealed files were when they were sealed: by their layer's id, or "baseline". */
  sealedFiles: z
    .record(z.string(), z.object({ sizeBytes: z.number(), modifiedAtMs: z.number() }))
    .default({}),
  /** A machine may write to the active layer, or ended without a word while it did. */
  diskInUse: z.boolean().default(false),
  /** A layer that is being sealed, and the snapshot that it is sealed for, if it is to have a name. */
  sealing: z
    .object({
      layer: z.string(),
      snapshot: snapshotSchema.pick({ name: true, createdAtMs: true }).nullable(),
    })
    .nullable()
    .default(null),
  /** It had its one command, of a VM of the low level: whoever finds it deletes it. */
  spent: z.boolean().default(false),
});

export type WorkspaceRecord = z.output<typeof recordSchema>;
export type SnapshotRecord = z.output<typeof snapshotSchema>;
export type WorkspaceSeed = z.output<typeof seedSchema>;

/** Whether it has no machine, and may get one over its disk. */
export function isDown(state: WorkspaceRecord["state"]): boolean {
  return state === "stopped" || state === "suspended";
}

/** Where a workspace keeps what. */
export interface WorkspacePaths {
  readonly directory: string;
  readonly record: string;
  readonly baseline: string;
  readonly active: string;
  /** What is to become the active layer while the one before is sealed. */
  readonly next: string;
  /** Sealed layers above the baseline, by their ids. */
  readonly layers: string;
  /** The memory of a suspended one. */
  readonly memory: string;
  /** The memories of snapshots, a directory each. */
  readonly snapshots: string;
  /** One directory per command. */
  readonly commands: string;
  /** What was done besides commands: one JSON line each. */
  readonly history: string;
  /** What is known of its services. */
  readonly services: string;
  /** Which ports of the host its services are to have. */
  readonly ports: string;
  /** The values of its secrets: the only file that holds them. */
  readonly secrets: string;
  /** Which shells and services were given secrets; no values. */
  readonly secretHolders: string;
}

export function pathsOf(directory: string): WorkspacePaths {
  return {
    directory,
    record: join(directory, "workspace.json"),
    baseline: join(directory, "baseline.qcow2"),
    active: join(directory, "active.qcow2"),
    next: join(directory, "next.qcow2"),
    layers: join(directory, "layers"),
    memory: join(directory, "memory"),
    snapshots: join(directory, "snapshots"),
    commands: join(directory, "commands"),
    history: join(directory, "history.jsonl"),
    services: join(directory, "services.json"),
    ports: join(directory, "ports.json"),
    secrets: join(directory, "secrets.json"),
    secretHolders: join(directory, "secret-holders.json"),
  };
}

/** Makes a workspace's directory with its first record. */
export async function createRecord(paths: WorkspacePaths, record: WorkspaceRecord): Promise<void> {
  await mkdir(paths.directory, { mode: 0o700 });
  try {
    await mkdir(paths.commands, { mode: 0o700 });
    await saveRecord(paths, record);
  } catch (error) {
    // Without a record nobody would know what it is.
    await rm(paths.directory, { recursive: true, force: true });
    throw error;
  }
}

export async function saveRecord(paths: WorkspacePaths, record: WorkspaceRecord): Promise<void> {
  await writeFileAtomic(paths.record, JSON.stringify(record));
}

/** The record of a directory; undefined where there is none that this version can read. */
export async function loadRecord(paths: WorkspacePaths): Promise<WorkspaceRecord | undefined> {
  const parsed = recordSchema.safeParse(await readJsonFile(paths.record));
  return parsed.success ? parsed.data : undefined;
}

/** The workspaces below a directory, which is made where it is missing. */
export async function listDirectories(directory: string): Promise<string[]> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  return (await readdir(directory)).sort();
}

export function newRecord(
  fields: Pick<
    WorkspaceRecord,
    "workspaceId" | "name" | "labels" | "environment" | "vcpuCount" | "memMib" | "ttlSeconds" | "secrets"
  > &
    Partial<Pick<WorkspaceRecord, "network">>,
  nowMs: number,
): WorkspaceRecord {
  return {
    network: NO_NETWORK,
    ...fields,
    format: FORMAT,
    imageDigest: null,
    config: null,
    createdAtMs: nowMs,
    lastActivityAtMs: nowMs,
    state: "creating",
    stoppedBy: null,
    stoppedAtMs: null,
    failure: null,
    machineId: null,
    isolation: null,
    seed: { mode: "empty", seedPath: null, originKind: "empty", originRef: null, entryCount: 0, bytes: 0 },
    warnings: [],
    lastSequence: 0,
    reset: { count: 0, atMs: null, snapshot: null },
    sourceWorkspaceId: null,
    secretsInMemory: [],
    resetTo: null,
    layers: [],
    snapshots: [],
    sealedFiles: {},
    diskInUse: false,
    sealing: null,
    spent: false,
  };
}
