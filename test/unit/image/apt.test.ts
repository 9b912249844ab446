import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { complete } from "../../../src/kit/index.js";
import {
  aptConfiguration,
  aptDirectories,
  parseDownloadStatus,
  parsePrintUris,
} from "../../../src/image/apt.js";

describe("apt's private configuration", () => {
  it("can only fetch: dpkg is replaced by a program that fails, also as the real apt understands it", async () => {
    const directory = await mkdtemp(join(tmpdir(), "pyro-apt-"));
    try {
      const file = join(directory, "apt.conf");
      await writeFile(file, aptConfiguration(aptDirectories(directory), "amd64"));
      const { stdout, code } = await complete("apt-config", ["-c", file, "dump"]);
      expect(code).toBe(0);
      expect(stdout).toContain('Dir::Bin::dpkg "/bin/false";');
      expect(stdout).toContain('APT::Get::Download-Only "true";');
      expect(stdout).toContain(`Dir::State::status "${directory}/status";`);
      expect(stdout).not.toMatch(/^(DPkg|APT::Update)::(Pre|Post)-Invoke(-Success)?:: /m);
      expect(stdout).not.toContain("Assume-Yes");
      expect(stdout.match(/^APT::Architectures::.*/gm)).toEqual(['APT::Architectures:: "amd64";']);
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  it("names the sandbox's user only where it is told to", () => {
    const directories = aptDirectories("/x");
    expect(aptConfiguration(directories, "amd64")).not.toContain("Sandbox");
    expect(aptConfiguration(directories, "amd64", "root")).toContain('APT::Sandbox::User "root";');
  });
});

describe("what apt says", () => {
  it("names each file with its size and SHA-256; epochs are decoded, other lines are dropped", () => {
    const sha256 = "a".repeat(64);
    const text = [
      "Reading package lists...",
      `'http://m.test/pool/g/git_2%253a1.deb' git_1%3a2.39.5-0+deb12u2_amd64.deb 7264 SHA256:${sha256}`,
      "'http://m.test/pool/x.deb' x_1_all.deb 12 MD5Sum:00",
    ].join("\n");
    expect(parsePrintUris(text)).toEqual([
      {
        name: "git",
        version: "1:2.39.5-0+deb12u2",
        architecture: "amd64",
        file: "git_1%3a2.39.5-0+deb12u2_amd64.deb",
        sizeBytes: 7264,
        sha256,
      },
    ]);
  });

  it("tells how far a download is", () => {
    expect(parseDownloadStatus("dlstatus:12:20.4051:Retrieving file 12 of 164")).toBeCloseTo(0.204051);
    expect(parseDownloadStatus("dlstatus:1:100.0000:Retrieving")).toBe(1);
    expect(parseDownloadStatus("Get:1 http://m.test bookworm")).toBeUndefined();
  });
});
