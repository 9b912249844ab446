import { describe, expect, it } from "vitest";
import { mmdebstrapArguments } from "../../../src/image/mmdebstrap.js";

describe("the command lines", () => {
  it("of mmdebstrap name every package, fetch nothing and quote paths", () => {
    const args = mmdebstrapArguments({
      mode: "unshare",
      suite: "bookworm",
      architecture: "amd64",
      lists: "/home/o'neil/lists",
      archives: "/c/archives",
      packages: ["bash", "libc6"],
    });
    expect(args).toMatchInlineSnapshot(`
      [
        "--mode=unshare",
        "--variant=custom",
        "--format=tar",
        "--skip=update,check/qemu",
        "--dpkgopt=force-unsafe-io",
        "--architectures=amd64",
        "--setup-hook=mkdir -p "$1/var/cache/apt/archives" "$1/var/lib/apt/lists"",
        "--setup-hook=for d in bin lib lib64 sbin; do mkdir -p "$1/usr/$d"; ln -s "usr/$d" "$1/$d"; done",
        "--setup-hook=sync-in '/home/o'\\''neil/lists' /var/lib/apt/lists",
        "--setup-hook=sync-in '/c/archives' /var/cache/apt/archives",
        "--include=bash,libc6",
        "bookworm",
        "-",
        "-",
      ]
    `);
  });
});
