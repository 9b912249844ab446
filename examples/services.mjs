// A server in a workspace, waited for until it answers; then asked, read and stopped.
import { Pyro } from "pyro-mcp";

const pyro = new Pyro({ stateDir: process.env.PYRO_STATE_DIR });
try {
  const { workspaceId } = await pyro.createWorkspace({ environment: "debian:12" });
  try {
    const service = { workspaceId, serviceName: "web" };
    await pyro.writeWorkspaceFile({ workspaceId, path: "index.html", content: "<h1>hello</h1>\n" });
    const { state } = await pyro.startService({
      ...service,
      argv: ["python3", "-m", "http.server", "8000"],
      readiness: { type: "http", url: "http://localhost:8000/" },
    });
    console.log(`the service is ${state}`);
    const get =
      "python3 -c \"import urllib.request as u; print(u.urlopen('http://localhost:8000/').read())\"";
    const { output } = await pyro.execWorkspace({ workspaceId, command: get });
    console.log(Buffer.from(output.stdout.data).toString().trim());
    const { stderr } = await pyro.logsService(service);
    console.log(Buffer.from(stderr.data).toString().trim().split("\n").at(-1));
    console.log(`the service is ${(await pyro.stopService(service)).state}`);
  } finally {
    await pyro.deleteWorkspace(workspaceId);
  }
} finally {
  await pyro[Symbol.asyncDispose]();
}
