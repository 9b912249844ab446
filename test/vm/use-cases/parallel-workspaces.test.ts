/** docs/use-cases/parallel-workspaces.md: the example, and the page's calls in real chat hosts. */
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { checkoutOf } from "../../chat-hosts/checkout.js";
import { C_PROJECT } from "../../chat-hosts/projects.js";
import type { Reading } from "../../chat-hosts/reading.js";
import { EACH_HOST, hostSuite, seesRecord } from "../../chat-hosts/suite.js";
import { callsOf, runExample, transcriptOf } from "../../chat-hosts/use-case.js";

const PAGE = "parallel-workspaces";
const WINNER = "ring.wrap.c";
const { state, run, workspaces, leavesNothing } = hostSuite();
const { files, environment, path, wrong, right } = C_PROJECT;

it("the example writes what its page shows", async () => {
  expect(await runExample(PAGE, state().path)).toEqual(transcriptOf(PAGE));
  await leavesNothing();
});

it.for(EACH_HOST)(
  "%s tries two ideas at once, sees by their summaries which is the better one, and takes only that home",
  async ([, host]) => {
    await using checkout = await checkoutOf(files);
    const before = await checkout.fingerprint();
    await run(host, checkout, ["--mode", "repro-fix", "--environment", environment], triesBoth);
    expect(await readFile(join(checkout.path, WINNER), "utf8")).toBe(files[path]?.replace(wrong, right));
    expect(await checkout.status()).toBe(`?? ${WINNER}\n`);
    for (const added of [WINNER, ...host.leaves]) await rm(join(checkout.path, added));
    expect(await checkout.fingerprint()).toEqual(before);
    await leavesNothing();
  },
);

async function triesBoth({ host, call, load }: Reading): Promise<string> {
  const [createA, createB, list, editA, editB, execA, execB, sumA, sumB, takeHome, ...deletes] = calls();
  await load(
    "workspace_list",
    "workspace_file_edit",
    "workspace_summary",
    "workspace_export",
    "workspace_delete",
  );
  const labels = { bug: "ring-wraps" };
  for (const [name, create] of Object.entries({ larger: createA, wrap: createB })) {
    const text = new RegExp(`^name +${name}\nlabels +bug=ring-wraps$`, "m");
    seesRecord(host, await call(...create), text, { name, labels, state: "started" });
  }
  const both = { count: 2, workspaces: [{ labels }, { labels }] };
  seesRecord(host, await call(...list), /wrap[^]*larger/, both);
  await call(...editA);
  await call(...editB);

  const larger = await call(...execA);
  expect(larger.words).toMatch(/^exit 1\n/);
  expect(larger.guest).toMatch(/ok: 10 bytes went round\nnot ok: put 16, got 17\n/);
  const wrap = await call(...execB);
  expect(wrap.words).toMatch(/^exit 0\n/);
  expect(wrap.guest).toMatch(/ok: 10 bytes went round\nok: 100000 bytes went round\n/);

  // Neither has the other's change.
  const changed = [await call(...sumA), await call(...sumB)].map(({ words, guest }) =>
    ["ring.h", "ring.c"].filter((name) => `${words}\n${guest}`.includes(name)),
  );
  expect(changed).toEqual([["ring.h"], ["ring.c"]]);
  expect((await workspaces()).map(({ name }) => name).sort()).toEqual(["larger", "wrap"]);

  await call(...takeHome);
  for (const each of deletes) expect((await call(...each)).words).toContain("deleted");
  return "Wrapping the index mends it; a larger ring only hides it.";
}

/** The page's, of which the first ten are known one by one. */
function calls() {
  const all = callsOf(PAGE);
  expect(all).toHaveLength(12);
  type Call = (typeof all)[number];
  return all as unknown as [Call, Call, Call, Call, Call, Call, Call, Call, Call, Call, Call, Call];
}
