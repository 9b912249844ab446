import { LIMITS } from "../protocol/index.js";
import type { IpAddress } from "./address.js";

/**
 * Which names led to which addresses, of one workspace: what its connections are judged by. A pair is remembered for ten
 * minutes after it was told or used last, since programs keep addresses longer than they should; what is in use stays.
 * At most LIMITS.networkNamePairs: the address that was used longest ago goes first.
 */
export class NameTable {
  /** By address, the one used longest ago first: its names, and when each was told or used last. */
  readonly #addresses = new Map<string, Map<string, number>>();
  #pairs = 0;

  constructor(private readonly now: () => number = () => performance.now()) {}

  get pairCount(): number {
    return this.#pairs;
  }

  /** These addresses were told for the name; all are canonical. */
  add(name: string, addresses: readonly IpAddress[]): void {
    for (const { text } of addresses) {
      const names = this.#addresses.get(text) ?? new Map<string, number>();
      this.#touch(text, names);
      if (!names.delete(name)) this.#pairs += 1;
      names.set(name, this.now());
      if (names.size > LIMITS.networkNamesPerAddress) this.#drop(names, names.keys().next().value);
    }
    while (this.#pairs > LIMITS.networkNamePairs) {
      const [oldest, names] = this.#addresses.entries().next().value ?? ["", new Map<string, number>()];
      this.#addresses.delete(oldest);
      this.#pairs -= names.size;
    }
  }

  /** The names that led to the address, the newest first; it counts as used now. */
  namesOf(address: IpAddress): readonly string[] {
    const names = this.#addresses.get(address.text);
    if (names === undefined) return [];
    for (const [name, at] of names) if (this.now() - at > LIMITS.networkNameKeptMs) this.#drop(names, name);
    if (names.size === 0) {
      this.#addresses.delete(address.text);
      return [];
    }
    this.#touch(address.text, names);
    const newest = [...names.keys()].reverse();
    for (const name of names.keys()) names.set(name, this.now());
    return newest;
  }

  #touch(address: string, names: Map<string, number>): void {
    this.#addresses.delete(address);
    this.#addresses.set(address, names);
  }

  #drop(names: Map<string, number>, name: string | undefined): void {
    if (name !== undefined && names.delete(name)) this.#pairs -= 1;
  }
}
