import { expect, test } from "vitest";
import { probeServer } from "../../../src/chat-hosts/index.js";
import { chatHome, fakeServer } from "../../fakes/chat-home.js";

test("a server that never answers is ended after its deadline", async () => {
  await using home = await chatHome({ commandMs: 500 });
  const pyro = await home.program(
    "pyro",
    `fs.writeFileSync(home + "/pid", String(process.pid)); setInterval(() => {}, 1000);`,
  );
  expect(await probeServer(home.world, [pyro], {})).toEqual({ ok: false, reason: "no answer within 1 s" });
  const pid = Number(await home.read("pid").catch(() => "0"));
  if (pid > 0) expect(() => process.kill(pid, 0)).toThrow();
});

test("one that is not there, floods, or leaves says so", async () => {
  await using home = await chatHome();
  expect(await probeServer(home.world, ["/gone/pyro"], {})).toEqual({
    ok: false,
    reason: "cannot start /gone/pyro: ENOENT",
  });
  const flood = await home.program(
    "flood",
    `const line = JSON.stringify({ id: 9, x: "y".repeat(60000) }) + "\\n"; for (;;) fs.writeSync(1, line);`,
  );
  expect(await probeServer(home.world, [flood], {})).toMatchObject({ ok: false });
  const killed = await home.program("killed", `process.kill(process.pid, "SIGKILL");`);
  expect(await probeServer(home.world, [killed], {})).toEqual({ ok: false, reason: "it ended by SIGKILL" });
});

test("it gets the variables that every host passes on and those of the entry, and no others", async () => {
  await using home = await chatHome();
  const pyro = await home.program(
    "pyro",
    `fs.writeFileSync(home + "/env", JSON.stringify(process.env));${fakeServer()}`,
  );
  const world = { ...home.world, env: { ...home.world.env, TOKEN: "secret", TERM: "dumb" } };
  expect(await probeServer(world, [pyro], { MINE: "1" })).toMatchObject({
    ok: true,
    server: "pyro",
    tools: 2,
  });
  const seen = Object.keys(JSON.parse(await home.read("env")) as object).sort();
  expect(seen).toEqual(["HOME", "MINE", "PATH", "TERM"]);
});

test("a caller who leaves is not kept", async () => {
  await using home = await chatHome();
  const pyro = await home.program("pyro", `setInterval(() => {}, 1000);`);
  const signal = AbortSignal.timeout(300);
  await expect(probeServer({ ...home.world, signal }, [pyro], {})).rejects.toThrow(/timeout/);
});
