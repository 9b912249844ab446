#!/usr/bin/env node
// Stands in for pyro-hold. It holds the files themselves instead of copies in memory.
import { createHash } from "node:crypto";
import { copyFileSync, fstatSync, openSync, readFileSync } from "node:fs";

const args = process.argv.slice(2).filter((word) => word !== "--own" && word !== "--fast");
const to = args[0] === "--to" ? args.splice(0, 2)[1] : undefined;
const [memory, state] = args.map((path) => {
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
if (to !== undefined) copyFileSync(args[0], to);
process.stdout.write(`${JSON.stringify({ memory, state })}\n`);
if (to !== undefined) process.exit(0);
process.stdin.resume().on("end", () => process.exit(0));
