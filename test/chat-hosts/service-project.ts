import { projectFiles } from "./use-case.js";

/** A small repository with a service: what it installs lies in it, so that it needs no network. */
export const SERVICE_PROJECT = {
  files: projectFiles("greeter"),
  test: "python3 -B -m unittest",
  install: "make install",
  command: "exec greeter 8080",
  url: "http://localhost:8080",
  greeting: "Good morning.\n",
} as const;
