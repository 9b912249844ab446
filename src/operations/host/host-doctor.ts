import * as z from "zod";
import { CHAT_HOSTS, chatHost } from "../../chat-hosts/index.js";
import { snakeKeys } from "../fields.js";
import { defineOperation } from "../operation.js";
import { surroundings } from "./entry-options.js";
import { examineHost, HOST_STATES, renderHostReport, type HostReport } from "./examine-host.js";

const record = z.object({
  host: z.enum(CHAT_HOSTS),
  title: z.string(),
  state: z.enum(HOST_STATES),
  program: z.string().nullable(),
  config_path: z.string(),
  scope: z.string().nullable(),
  command: z.array(z.string()).nullable(),
  url: z.string().nullable(),
  problems: z.array(z.string()),
  hint: z.string(),
  server: z.object({ name: z.string(), version: z.string(), tools: z.number() }).nullable(),
  project_source: z.string().nullable(),
  host_check: z.object({ by: z.string(), ok: z.boolean(), says: z.string() }).nullable(),
});

const output = z.object({ ok: z.boolean(), hosts: z.array(record) });

/** `pyro host doctor`. */
export const hostDoctor = defineOperation({
  name: "host_doctor",
  command: ["host", "doctor"],
  summary: "Check the entry of pyro in each chat host, up to the running server",
  description:
    "Reads each host's configuration, starts the server as the entry says, and asks the host itself. Of what a " +
    "project's own file names, nothing is started but this pyro. States:\n" +
    "  not-installed   the host's command is not on PATH\n" +
    "  not-connected   it has no entry pyro: `pyro host connect`\n" +
    "  connected       the entry serves, and the host says so where it checks\n" +
    "  drifted         the entry is not what connect would write: `pyro host repair`\n" +
    "  failing         the entry is as it should be, and does not serve\n" +
    "  config-invalid  the host cannot read its file: place and fix are named\n" +
    "Exit status 1 when something needs mending: one of the last three; for a host that is named, all but connected.",
  profiles: [],
  kind: "read",
  input: z.strictObject({
    hosts: z
      .array(z.enum(CHAT_HOSTS))
      .max(CHAT_HOSTS.length)
      .default([])
      .describe("The hosts to check (default: all)"),
  }),
  output,
  positionals: ["hosts"],
  examples: [
    { command: "pyro host doctor", says: "all hosts" },
    { command: "pyro host doctor codex --json", says: "one of them, for a program" },
  ],
  run: async ({ hosts }, { signal }) => {
    const world = surroundings(signal);
    const names = hosts.length === 0 ? CHAT_HOSTS : CHAT_HOSTS.filter((name) => hosts.includes(name));
    const reports = await Promise.all(names.map((name) => examineHost(chatHost(name), world)));
    const isFine = ({ state }: HostReport): boolean =>
      state === "connected" ||
      (hosts.length === 0 && (state === "not-installed" || state === "not-connected"));
    return output.parse({ ok: reports.every(isFine), hosts: snakeKeys(reports) });
  },
  render: ({ ok, hosts }) => {
    const reports = hosts.map(({ config_path, project_source, host_check, ...rest }) =>
      renderHostReport({
        ...rest,
        configPath: config_path,
        projectSource: project_source,
        hostCheck: host_check,
      }),
    );
    const none = hosts.every(({ state }) => state === "not-installed" || state === "not-connected");
    const says = !ok ? "something needs mending" : none ? "no host is connected" : "everything is in order";
    return [...reports, says].join("\n");
  },
  exitCode: ({ ok }) => (ok ? 0 : 1),
});
