import { json, pyro, type Result, type TestState } from "./support.js";

/** A workspace of a state, and what it is asked most. */
export const workspaceOf = (state: () => TestState, id: string) => {
  const call = (...args: string[]): Promise<Result> =>
    pyro(["workspace", ...args], { stateDir: state().path });
  return {
    call,
    /** A shell line; what it prints on both streams. */
    sh: async (line: string): Promise<string> => {
      const { stdout } = await call(
        "exec",
        id,
        "--timeout-seconds",
        "400",
        "--",
        "sh",
        "-c",
        `exec 2>&1; ${line}`,
      );
      return stdout.toString();
    },
    record: async () =>
      json(await call("network", id, "--json")) as { entries: Record<string, string | undefined>[] },
    lastRefusal: async () => {
      const { last_command } = json(await call("status", id, "--json"));
      return (last_command as { network_refusal: string | null }).network_refusal;
    },
  };
};
