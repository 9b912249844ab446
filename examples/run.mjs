// One command in one fresh virtual machine, which is gone when its result is there.
import { Pyro } from "pyro-mcp";

const pyro = new Pyro({ stateDir: process.env.PYRO_STATE_DIR });
try {
  const result = await pyro.runInVm({ environment: "debian:12", argv: ["uname", "-r"] });
  console.log(`exit ${result.exitCode}, isolation ${result.isolation}: ${result.stdout.trim()}`);

  // The output as it comes. Leaving the loop ends the command and its machine.
  for await (const event of pyro.streamInVm({ environment: "debian:12", command: "cat", stdin: "piped\n" }))
    if (event.type === "stdout") process.stdout.write(event.data);
} finally {
  await pyro[Symbol.asyncDispose]();
}
