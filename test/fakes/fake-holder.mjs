#!/usr/bin/env node
// Stands in for pyro-hold: `fake-holder.mjs MEMORY STATE`. It holds the files themselves instead of sealed copies.
import { createHash } from "node:crypto";
import { fstatSync, openSync, readFileSync } from "node:fs";

const [memory, state] = process.argv.slice(2).map((path) => {
  const fd = openSync(path, "r");
  const content = readFileSync(fd);
  const sha256 = createHash("sha256").update(content).digest("hex");
  return {
    fd,
    sha256,
    size_bytes: fstatSync(fd).size,
    used_bytes: content.filter((byte) => byte !== 0).length,
  };
});
process.stdout.write(`${JSON.stringify({ memory, state })}\n`);
process.stdin.resume().on("end", () => process.exit(0));
