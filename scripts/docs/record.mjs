// Records a terminal: real commands of this checkout, typed into a pseudo-terminal (util-linux's `script`), as
// docs/public/recordings/NAME.cast (asciinema's format, version 2) and NAME.svg, which plays by itself without a program.
//   node scripts/docs/record.mjs [NAME…]
// Environments are taken from the user's cache; the state is a directory of its own, which is removed.
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { framesOf, toSvg } from "./recording-svg.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
const out = join(root, "docs/public/recordings");
const SIZE = { cols: 84, rows: 20 };

/** What is typed. Files are there before; commands of `before` run unseen. */
const SCENES = {
  run: {
    before: ["pyro run debian:12 -- true"],
    typed: [
      "pyro run debian:12 -- git --version",
      "echo hello | pyro run debian:12 -- tr a-z A-Z",
      "pyro run debian:12 -- sh -c 'uname -r; cat /proc/1/comm'",
    ],
  },
  workspace: {
    before: ["pyro run debian:12 -- true"],
    files: {
      "repo/app.py": "def add(a, b):\n    return a - b\n",
      "repo/test_app.py":
        "import unittest\nfrom app import add\n\nclass Adds(unittest.TestCase):\n    def test_adds(self):\n        self.assertEqual(add(2, 3), 5)\n",
    },
    typed: [
      "pyro workspace create debian:12 --seed-path ./repo --name fix-1",
      "pyro workspace exec fix-1 -- python3 -m unittest 2>&1 | tail -3",
      "pyro workspace file edit fix-1 app.py --old-text 'a - b' --new-text 'a + b'",
      "pyro workspace exec fix-1 -- python3 -m unittest 2>&1 | tail -1",
      "pyro workspace diff fix-1",
      "pyro workspace delete fix-1",
    ],
  },
};

for (const name of process.argv.length > 2 ? process.argv.slice(2) : Object.keys(SCENES))
  record(name, SCENES[name]);

function record(name, { before = [], files = {}, typed }) {
  const place = mkdtempSync(join(tmpdir(), "pyro-recording-"));
  try {
    const pyro = join(place, "bin/pyro");
    mkdirSync(join(place, "bin"));
    mkdirSync(join(place, "home/state"), { recursive: true, mode: 0o700 });
    const cache = process.getuid() === 0 ? "/var/cache/pyro" : join(process.env.HOME ?? "", ".cache/pyro");
    run("sh", [
      "-c",
      `mkdir -p ${place}/home/state/cache && cp -a --sparse=always ${cache}/environments ${cache}/images ${place}/home/state/cache/`,
    ]);
    writeFileSync(
      pyro,
      `#!/bin/sh\nexec ${process.execPath} ${root}/bin/pyro --state-dir ${place}/home/state "$@"\n`,
    );
    chmodSync(pyro, 0o755);
    for (const [file, text] of Object.entries(files)) {
      mkdirSync(join(place, "home", file, ".."), { recursive: true });
      writeFileSync(join(place, "home", file), text);
    }
    const env = {
      PATH: `${place}/bin:${process.env.PATH}`,
      HOME: join(place, "home"),
      TERM: "xterm-256color",
      LANG: "C.UTF-8",
    };
    for (const line of before) run("sh", ["-c", line], { cwd: join(place, "home"), env });
    writeFileSync(join(place, "scene"), sceneOf(typed));
    run(
      "script",
      [
        "-q",
        "-e",
        "-O",
        `${place}/out`,
        "-T",
        `${place}/timing`,
        "-c",
        `stty cols ${SIZE.cols} rows ${SIZE.rows}; sh ${place}/scene`,
      ],
      {
        cwd: join(place, "home"),
        env,
      },
    );
    const events = eventsOf(readFileSync(join(place, "timing"), "utf8"), readFileSync(join(place, "out")));
    mkdirSync(out, { recursive: true });
    const header = JSON.stringify({
      version: 2,
      width: SIZE.cols,
      height: SIZE.rows,
      title: `pyro: ${name}`,
    });
    const lines = events.map(({ at, data }) =>
      JSON.stringify([Number(at.toFixed(3)), "o", data.toString("utf8")]),
    );
    writeFileSync(join(out, `${name}.cast`), `${[header, ...lines].join("\n")}\n`);
    framesOf(events, SIZE).then((frames) =>
      writeFileSync(join(out, `${name}.svg`), toSvg(frames, SIZE, typed)),
    );
  } finally {
    spawnSync(join(place, "bin/pyro"), ["daemon", "stop", "--force"]);
    rmSync(place, { recursive: true, force: true });
  }
}

function run(program, args, options = {}) {
  const { status, stderr, error } = spawnSync(program, args, {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    ...options,
  });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`${program} ${args.join(" ")}: ${status}: ${stderr}`);
}

/** A shell script that types each line by itself, slowly enough to be read, and runs it. */
function sceneOf(lines) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const typing = lines.map((line) => {
    const parts = line.match(/.{1,4}/g) ?? [];
    return [
      `printf '\\033[1;32m$\\033[0m '; sleep 0.4`,
      ...parts.map((part) => `printf %s ${quoted(part)}; sleep 0.08`),
      "sleep 0.3; printf '\\n'",
      line,
      "sleep 0.8",
    ].join("\n");
  });
  return `${typing.join("\n")}\nsleep 2\n`;
}

/** What `script` wrote down: seconds since the event before, and how many bytes came. */
function eventsOf(timing, output) {
  // The first line of the log says when it began.
  let offset = output.indexOf("\n") + 1;
  let at = 0;
  return timing
    .trim()
    .split("\n")
    .flatMap((line) => {
      const [kind, delay, count] = line.split(" ");
      const isOutput = kind === "O";
      const [seconds, bytes] = /^[A-Z]$/.test(kind)
        ? [Number(delay), Number(count)]
        : [Number(kind), Number(delay)];
      at += seconds;
      if (/^[A-Z]$/.test(kind) && !isOutput) return [];
      const data = output.subarray(offset, offset + bytes);
      offset += bytes;
      return [{ at, data }];
    });
}
