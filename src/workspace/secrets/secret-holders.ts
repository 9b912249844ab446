import * as z from "zod";
import { failpoint, readJsonFile, writeFileAtomic } from "../../kit/index.js";
import type { SecretHolder, WorkspaceSecrets } from "./workspace-secrets.js";

const fileSchema = z.array(
  z.object({
    id: z.string(),
    kind: z.enum(["shell", "service"]),
    name: z.string(),
    secrets: z.array(z.string()),
  }),
);

type Kept = z.output<typeof fileSchema>[number];

interface Held extends Kept {
  readonly noted: Disposable;
  /** The machine has answered whether it is there: from then on what the machine does not know is gone. */
  isAnswered: boolean;
}

/**
 * The shells and services that were given secrets: they outlive the daemon, so their names and those of the secrets, never
 * a value, are in a file before the machine hears of them. After a crash one may be held that has ended: the next look at
 * the machine lets go of it.
 */
export class SecretHolders {
  readonly #held = new Map<string, Held>();
  #saving: Promise<void> = Promise.resolve();

  private constructor(
    private readonly path: string,
    private readonly secrets: WorkspaceSecrets,
  ) {}

  static async open(path: string, secrets: WorkspaceSecrets): Promise<SecretHolders> {
    const holders = new SecretHolders(path, secrets);
    await holders.load();
    return holders;
  }

  /** Reads the file; nothing of it may be known yet. */
  async load(): Promise<void> {
    if (this.secrets.all.length === 0) return;
    const kept = fileSchema.safeParse(await readJsonFile(this.path).catch(() => undefined));
    for (const each of kept.data ?? []) this.#hold(each, true);
  }

  /**
   * Holds what a shell or a service is about to be given, under an id that no other start has.
   * @throws {PyroError} DISK_FULL and the like: nothing is held then
   */
  async begin(id: string, holder: SecretHolder & Pick<Kept, "kind">): Promise<void> {
    if (holder.secrets.length === 0) return;
    this.#hold({ id, kind: holder.kind, name: holder.name, secrets: [...holder.secrets] }, false);
    try {
      await this.#save();
    } catch (error) {
      this.end(id);
      throw error;
    }
  }

  /** The start of it was answered, or given up: the next look decides. */
  answered(id: string): void {
    const held = this.#held.get(id);
    if (held !== undefined) held.isAnswered = true;
  }

  /** It does not live any more. */
  end(id: string): void {
    const held = this.#held.get(id);
    if (held === undefined) return;
    this.#held.delete(id);
    held.noted[Symbol.dispose]();
    void this.#save().catch(() => undefined);
  }

  /** Call it before the machine is asked, and the result with the ids of those that live, as it answered. */
  look(kind: Kept["kind"]): (alive: readonly string[]) => void {
    const known = [...this.#held.values()].filter((held) => held.kind === kind && held.isAnswered);
    return (alive) => {
      for (const { id } of known) if (!alive.includes(id)) this.end(id);
    };
  }

  /** Their machine is gone, and its memory too. */
  async clear(): Promise<void> {
    for (const id of this.#held.keys()) this.end(id);
    await this.saved();
  }

  /** What is known is in the file, or could not be written. */
  async saved(): Promise<void> {
    await this.#saving;
  }

  #hold(kept: Kept, isAnswered: boolean): void {
    const { kind, name, secrets } = kept;
    this.#held.set(kept.id, { ...kept, noted: this.secrets.hold({ kind, name, secrets }), isAnswered });
  }

  async #save(): Promise<void> {
    const kept = [...this.#held.values()].map(({ id, kind, name, secrets }) => ({ id, kind, name, secrets }));
    const write = this.#saving.then(() => writeHolders(this.path, kept));
    this.#saving = write.then(
      () => undefined,
      () => undefined,
    );
    await write;
  }
}

async function writeHolders(path: string, kept: readonly Kept[]): Promise<void> {
  await writeFileAtomic(path, JSON.stringify(kept), 0o600, () => failpoint("secrets.holders-written"));
  failpoint("secrets.holders-saved");
}
