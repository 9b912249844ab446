import type { Finding, Redactor } from "./redactor.js";

/** A part of something that is read file by file: its name where it begins, or its next bytes. */
export interface ContentPart {
  /** Without a slash in front; undefined: what follows is of the one before. */
  readonly path?: Uint8Array;
  /** Of a symbolic link. */
  readonly linkTarget?: Uint8Array;
  readonly data?: Uint8Array;
}

/** Finds out which of many things hold a secret: in their bytes, in the target of a link, or in their names. */
export class SecretsInContent {
  readonly #redactor: Redactor;
  readonly #paths: string[] = [];
  #path = "";
  #told = false;
  #finding: Finding | undefined;

  constructor(redactor: Redactor) {
    this.#redactor = redactor;
  }

  /** Where secrets are, absolute and redacted, in the order in which they came. */
  get paths(): readonly string[] {
    return this.#paths;
  }

  push({ path, linkTarget, data }: ContentPart): void {
    if (path !== undefined) {
      this.#path = `/${Buffer.from(path).toString()}`;
      this.#told = false;
      this.#finding = undefined;
      if (this.#redactor.finds(path) || (linkTarget !== undefined && this.#redactor.finds(linkTarget)))
        this.#tell();
    }
    if (data === undefined || data.length === 0 || this.#told) return;
    this.#finding ??= this.#redactor.finding();
    this.#finding.push(data);
    if (this.#finding.any) this.#tell();
  }

  #tell(): void {
    this.#told = true;
    this.#paths.push(this.#redactor.text(this.#path));
  }
}
