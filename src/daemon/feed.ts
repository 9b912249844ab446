import type { RunRequest } from "../protocol/gen/pyro/daemon/v1/run_pb.js";
import type { RunningCommand } from "../workspace/index.js";
import { InputQueue } from "./input-queue.js";

/** What a caller sends behind the start of a command; what begins a stream is passed over. */
type CommandInput = Exclude<RunRequest["request"], { case: "start" }> | { readonly case: "start" | "attach" };

/** Input and signals, as they come, until the caller ends them or the command takes no more. */
export async function feed(
  requests: AsyncIterator<{ readonly request: CommandInput }>,
  command: RunningCommand,
  onAccepted: (totalBytes: number) => void,
): Promise<void> {
  const input = new InputQueue(command, onAccepted);
  try {
    for (;;) {
      const next = await requests.next();
      if (next.done === true) break;
      const { request } = next.value;
      if (request.case === "stdin") await input.put(request.value);
      else if (request.case === "stdinEnd") input.end();
      else if (request.case === "signal") await command.signal(request.value);
    }
  } catch {
    // The call was aborted or the machine is gone: the run itself says so.
  }
  input.end();
}
