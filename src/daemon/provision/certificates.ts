import { createHash, X509Certificate } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { rootCertificates } from "node:tls";
import type { NetworkVariables } from "../../kit/index.js";
import { readSmallFile } from "./small-file.js";

/** What the host trusts beyond its distribution. */
export interface HostCertificates {
  /** CERTIFICATE blocks and nothing else; empty where there are none. */
  readonly pem: string;
  readonly count: number;
  /** One line for each thing that is not handed on, and why. */
  readonly warnings: readonly string[];
}

export interface CertificateSources {
  /** Files that the user names; instead of what is found below. */
  readonly files?: readonly string[] | undefined;
  readonly variables: NetworkVariables;
  /** Where update-ca-certificates(8) takes a host's own from, and its distribution's. */
  readonly localDirectory?: string;
  readonly distributionDirectory?: string;
  /** The present when left out. */
  readonly atMs?: number;
}

const COUNT_MAX = 64;
/** Of all, as text: a certificate has 1 to 3 KB. */
const PEM_BYTES_MAX = 128 * 1024;
const LOCAL_FILES_MAX = 64;
const VARIABLES = [
  ...["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "PYRO_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE"],
  ...["CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "PIP_CERT"],
] as readonly (keyof NetworkVariables)[];
const BLOCK = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

/**
 * The certificates of authorities that this host's user added: files of their own, and what files that variables name have
 * beyond the distribution's and Node's own authorities. Each is parsed and written anew, so that nothing else of a file
 * goes along. Never rejects.
 */
export async function readCertificates(sources: CertificateSources): Promise<HostCertificates> {
  const { localDirectory = "/usr/local/share/ca-certificates" } = sources;
  const { distributionDirectory = "/usr/share/ca-certificates" } = sources;
  const warnings: string[] = [];
  const named = VARIABLES.flatMap((name) => sources.variables[name] ?? []);
  const paths = sources.files ?? [
    ...(await certificateFiles(localDirectory)).slice(0, LOCAL_FILES_MAX),
    ...named,
  ];
  const found: FoundCertificate[] = [];
  for (const path of new Set(paths)) found.push(...(await certificatesIn(path, warnings)));
  const isOwn = found.length > 0 && sources.files === undefined;
  const known = isOwn ? await knownFingerprints(distributionDirectory) : new Set<string>();
  const own = new Map<string, X509Certificate>();
  for (const each of found) {
    if (known.has(fingerprintOf(each.block))) continue;
    const certificate = parsed(each, warnings);
    if (certificate !== undefined && !known.has(plainFingerprint(certificate)))
      own.set(certificate.fingerprint256, certificate);
  }
  const now = sources.atMs ?? Date.now();
  let pem = "";
  let count = 0;
  for (const certificate of own.values()) {
    const text = certificate.toString();
    if (Date.parse(certificate.validTo) < now) {
      warnings.push(`${nameOf(certificate)} ended on ${certificate.validTo}`);
    } else if (count === COUNT_MAX || pem.length + text.length > PEM_BYTES_MAX) {
      warnings.push(`${own.size} certificates are more than the ${count} that machines get`);
      break;
    } else {
      pem += text;
      count += 1;
    }
  }
  return { pem, count, warnings };
}

async function certificateFiles(directory: string): Promise<string[]> {
  const names = await readdir(directory, { recursive: true }).catch(() => []);
  return names
    .filter((name) => name.endsWith(".crt"))
    .sort()
    .map((name) => join(directory, name));
}

/** A certificate as a file has it. */
interface FoundCertificate {
  readonly block: string;
  readonly path: string;
  /** Which of its file's, from 1. */
  readonly number: number;
}

async function certificatesIn(path: string, warnings: string[]): Promise<FoundCertificate[]> {
  const text = await readSmallFile(path);
  if (text === undefined) {
    warnings.push(`${path} is no file that can be read`);
    return [];
  }
  const blocks = text.match(BLOCK) ?? [];
  if (blocks.length === 0) warnings.push(`${path} holds no certificate`);
  return blocks.map((block, index) => ({ block, path, number: index + 1 }));
}

function parsed({ block, path, number }: FoundCertificate, warnings: string[]): X509Certificate | undefined {
  try {
    return new X509Certificate(block);
  } catch {
    warnings.push(`certificate ${number} of ${path} cannot be read`);
    return undefined;
  }
}

/** The authorities of the distribution, and of Node where that has none. */
async function knownFingerprints(directory: string): Promise<Set<string>> {
  const texts = await Promise.all((await certificateFiles(directory)).map(readSmallFile));
  const blocks = texts.flatMap((text) => text?.match(BLOCK) ?? []);
  return new Set([...rootCertificates, ...blocks].map(fingerprintOf));
}

/** SHA-256 of what a block holds (RFC 7468): it need not be parsed for that, which takes 0.3 ms for each of hundreds. */
function fingerprintOf(block: string): string {
  const [, content = ""] = /-----BEGIN CERTIFICATE-----([^-]*)/.exec(block) ?? [];
  return createHash("sha256").update(Buffer.from(content, "base64")).digest("hex");
}

/** The same of one that was parsed. */
function plainFingerprint({ fingerprint256 }: X509Certificate): string {
  return fingerprint256.replaceAll(":", "").toLowerCase();
}

function nameOf({ subject }: X509Certificate): string {
  return `the certificate of ${JSON.stringify(subject.replaceAll("\n", ", ").slice(0, 120))}`;
}
