import { describe, expect, it } from "vitest";
import { mke2fsArguments } from "../../../src/image/disk.js";
import { mmdebstrapArguments } from "../../../src/image/mmdebstrap.js";

describe("the command lines", () => {
  it("of mke2fs name every feature, so that the host's defaults do not matter", () => {
    expect(mke2fsArguments("/x/image.raw").join(" ")).toMatchInlineSnapshot(
      `"-q -F -t ext4 -O none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,metadata_csum,sparse_super,large_file,huge_file,dir_nlink,extra_isize -b 4096 -I 256 -i 16384 -m 1 -J size=64 -E lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0,discard -L pyro-root /x/image.raw"`,
    );
  });

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
