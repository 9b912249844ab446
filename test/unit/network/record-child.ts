// A process of its own that refuses until its record's file is rotated; a fault test kills it. Argument: the file.
import { NetworkRecord, RecordFile } from "../../../src/network/index.js";

const [path = ""] = process.argv.slice(2);
const record = new NetworkRecord({ file: new RecordFile(path, 20_000) });
for (let port = 1; port <= 1_000; port += 1) {
  record.add({ kind: "connection", address: "192.0.2.1", port, decision: "refused", reason: "private" });
  await new Promise((resolve) => setImmediate(resolve));
}
await record.close();
