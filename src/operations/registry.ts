import type { Declaration, ToolSet } from "./operation.js";

/** The commands that share a first word. A group is loaded when one of its commands is named: starting stays quick. */
export interface Group {
  readonly word: string;
  /** One line, for the overview. */
  readonly summary: string;
  readonly load: () => Promise<readonly Declaration[]>;
  /** None of its operations is a tool, and a server that lists tools does not wait for it. */
  readonly toolless?: true;
  /** None of its operations is a command, and no help lists it. */
  readonly commandless?: true;
}

/** All groups, in the order in which the help teaches them. */
export const GROUPS: readonly Group[] = [
  {
    word: "doctor",
    summary: "Prove that this host can run virtual machines, and name each fix",
    load: async () => [(await import("./host/doctor.js")).doctor],
  },
  {
    word: "env",
    summary: "What a VM can be: list, pull, build, save, push, inspect, delete and prune environments",
    load: async () => {
      const { envList } = await import("./env/list.js");
      const { envPull } = await import("./env/pull.js");
      const { envPush } = await import("./env/push.js");
      const { envInspect } = await import("./env/inspect.js");
      const { envBuild } = await import("./env/build.js");
      const { envSave } = await import("./env/save.js");
      const { envDelete } = await import("./env/delete.js");
      const { envPrune } = await import("./env/prune.js");
      return [envList, envPull, envBuild, envSave, envPush, envInspect, envDelete, envPrune];
    },
  },
  {
    word: "prepare",
    summary: "Warm this host once, so that the first VM starts as quickly as the tenth",
    load: async () => [(await import("./host/prepare.js")).prepare],
  },
  {
    word: "run",
    summary: "Run one command in one fresh virtual machine",
    load: async () => [(await import("./vm/run.js")).vmRun],
  },
  {
    word: "workspace",
    summary: "Work in a virtual machine over many calls: exec, files, diff, export, reset",
    load: async () => (await import("./workspace/index.js")).WORKSPACE_OPERATIONS,
  },
  {
    word: "vm",
    summary: "The low level: one VM at a time, for programs and models",
    load: async () => (await import("./vm/life-cycle.js")).VM_OPERATIONS,
    commandless: true,
  },
  {
    word: "mcp",
    summary: "Serve the tools to a chat host",
    load: async () => [(await import("./mcp/serve.js")).mcpServe],
  },
  {
    word: "host",
    summary: "Connect chat hosts: Claude Code, Codex, OpenCode",
    load: async () => {
      const { hostConnect } = await import("./host/connect.js");
      const { hostPrintConfig } = await import("./host/print-config.js");
      const { hostDoctor } = await import("./host/host-doctor.js");
      const { hostRepair } = await import("./host/repair.js");
      return [hostConnect, hostPrintConfig, hostDoctor, hostRepair];
    },
    toolless: true,
  },
  {
    word: "demo",
    summary: "Show a real command in a real VM, with real figures",
    load: async () => {
      const { demo } = await import("./host/demo.js");
      const { demoOllama } = await import("./host/demo-ollama.js");
      return [demo, demoOllama];
    },
    toolless: true,
  },
  {
    word: "bench",
    summary: "Measure this host: each figure beside its floor",
    load: async () => [(await import("./bench/bench.js")).bench],
  },
  {
    word: "daemon",
    summary: "Look at the process behind it all",
    load: async () => {
      const { daemonStatus } = await import("./daemon/status.js");
      const { daemonStop } = await import("./daemon/stop.js");
      const { daemonLogs } = await import("./daemon/logs.js");
      return [daemonStatus, daemonStop, daemonLogs];
    },
  },
];

/** Those that a person can type. */
export const COMMAND_GROUPS: readonly Group[] = GROUPS.filter(({ commandless }) => commandless !== true);

/** Every declaration, in the order of the groups. */
export async function allDeclarations(): Promise<readonly Declaration[]> {
  return await declarationsOf(GROUPS);
}

async function declarationsOf(groups: readonly Group[]): Promise<readonly Declaration[]> {
  return (await Promise.all(groups.map((group) => group.load()))).flat();
}

/** The tools of a profile or mode, in a fixed order. */
export async function toolsOf(set: ToolSet): Promise<readonly Declaration[]> {
  const declarations = await declarationsOf(GROUPS.filter(({ toolless }) => toolless !== true));
  return declarations.filter(({ profiles }) => profiles.includes(set));
}
