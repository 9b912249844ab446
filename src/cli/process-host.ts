import { fstatSync, readFileSync } from "node:fs";
import { createInterface } from "node:readline/promises";
import type { Readable } from "node:stream";
import type { CliHost, LocalTerminal } from "./host.js";
import { kernelArguments } from "./raw-arguments.js";

/** The process itself as the world of the command. */
export function processHost(runDaemon: CliHost["runDaemon"]): CliHost {
  const argv = process.argv.slice(2);
  return {
    argv,
    rawArgv: () => kernelArguments(readFileSync("/proc/self/cmdline"), argv.length),
    stdout: process.stdout,
    stderr: process.stderr,
    openStdin,
    openTerminal,
    confirm,
    onSignal: (name, listener) => {
      process.on(name, listener);
      return { [Symbol.dispose]: () => void process.off(name, listener) };
    },
    runDaemon,
  };
}

/** Only what carries something is opened: /dev/null and its like give the guest an empty input as well. */
function openStdin(): Readable | undefined {
  try {
    const stat = fstatSync(0);
    if (stat.isFIFO() || stat.isFile() || stat.isSocket()) return process.stdin;
  } catch {
    return undefined;
  }
  return process.stdin.isTTY && isForeground() ? process.stdin : undefined;
}

function openTerminal(): LocalTerminal | undefined {
  const { stdin, stdout } = process;
  if (!stdin.isTTY || !stdout.isTTY || !isForeground()) return undefined;
  return {
    input: stdin,
    setRaw: (isRaw) => void stdin.setRawMode(isRaw),
    size: () => ({ cols: stdout.columns || 80, rows: stdout.rows || 24 }),
    onResize: (listener) => {
      stdout.on("resize", listener);
      return { [Symbol.dispose]: () => void stdout.off("resize", listener) };
    },
  };
}

/** A job in the background that reads the terminal is stopped by SIGTTIN; such a job gets no input instead. */
function isForeground(): boolean {
  // The name in parentheses may hold spaces: "pid (name) state ppid pgrp session tty tpgid".
  const [, , group, , , foreground] = readFileSync("/proc/self/stat", "utf8")
    .replace(/^.*\) /s, "")
    .split(" ");
  return group === foreground;
}

async function confirm(question: string): Promise<boolean> {
  if (!process.stdin.isTTY) return false;
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await terminal.question(`${question} [y/N] `)).trim());
  } finally {
    terminal.close();
  }
}
