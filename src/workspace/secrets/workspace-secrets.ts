import { PyroError } from "../../protocol/index.js";
import { Redactor } from "./redactor.js";
import { invalid, requireSecretName, type Secret } from "./secret.js";

/** Which secrets a process is given, each under the name of a variable: {secret: ENV}; an empty ENV is the secret's name. */
export type SecretEnv = Readonly<Record<string, string>>;

/** What a process gets. */
export interface SecretEnvironment {
  /** "ENV=value", for the environment of the process and nothing else. */
  readonly entries: readonly Uint8Array[];
  /** Of the secrets: what is recorded. */
  readonly names: readonly string[];
}

/** A live process that was given secrets. */
export interface SecretHolder {
  readonly kind: "command" | "shell" | "service";
  /** Its sequence, its id or its name. */
  readonly name: string;
  readonly secrets: readonly string[];
}

/** What a user names a workspace by. */
interface Shown {
  readonly name?: string | null;
  readonly labels?: Readonly<Record<string, string>>;
}

/**
 * The secrets of one workspace, in memory: what processes get of them, who holds them, and how they are kept out of what
 * is shown.
 */
export class WorkspaceSecrets {
  readonly redactor: Redactor;
  readonly #holders = new Set<SecretHolder>();

  constructor(
    /** With their values: for the workspace's own file, and for forks. */
    readonly all: readonly Secret[],
    private readonly workspaceId: string,
  ) {
    this.redactor = all.length === 0 ? Redactor.none : new Redactor(all.map(({ value }) => value));
  }

  /**
   * The variables of a process with a `secret_env`. Give `entries` to the process only, and hold what `names` says for
   * as long as it lives.
   * @throws {PyroError} SECRET_NOT_FOUND, INVALID_ARGUMENT: a variable's name, or one that `env` has as well
   */
  environment(secretEnv: SecretEnv, env: readonly Uint8Array[] = []): SecretEnvironment {
    const given = new Set(env.map((entry) => Buffer.from(entry).toString("latin1").split("=", 1)[0] ?? ""));
    const entries: Uint8Array[] = [];
    for (const [name, as] of Object.entries(secretEnv)) {
      const secret = this.all.find((each) => each.name === name);
      if (secret === undefined) throw this.#notFound(name);
      const variable = as === "" ? name : as;
      requireSecretName(variable, "secret's variable");
      if (given.has(variable)) {
        throw invalid(
          `the variable ${variable} is given twice`,
          "name it once in env and secret_env together",
        );
      }
      given.add(variable);
      entries.push(Buffer.concat([Buffer.from(`${variable}=`), secret.value]));
    }
    return { entries, names: Object.keys(secretEnv) };
  }

  /** Notes that a process lives with secrets, until the result is disposed of. Nothing where it has none. */
  hold(holder: SecretHolder): Disposable {
    if (holder.secrets.length > 0) this.#holders.add(holder);
    return { [Symbol.dispose]: () => void this.#holders.delete(holder) };
  }

  /** The live processes that were given secrets; one that goes on in another machine is the same. */
  get holders(): readonly SecretHolder[] {
    const held = [...this.#holders].map((holder) => [`${holder.kind} ${holder.name}`, holder] as const);
    return [...new Map(held).values()];
  }

  /**
   * Before memory is written or copied: refuses while a live process holds a secret, unless that is allowed.
   * @param what for the message: "snapshot --memory", "fork", "stop --suspend"
   * @returns names of the secrets that are in what is made then, which the result of the call says
   * @throws {PyroError} SECRET_IN_MEMORY
   */
  allowInMemory(what: string, allowSecrets: boolean): string[] {
    const { holders, workspaceId } = this;
    if (holders.length === 0 || allowSecrets)
      return [...new Set(holders.flatMap(({ secrets }) => secrets))].sort();
    const named = holders.map(
      ({ kind, name, secrets }) =>
        `${kind} ${name} was given ${secrets.length === 1 ? "the secret" : "the secrets"} ${secrets.join(", ")}`,
    );
    throw new PyroError(
      "SECRET_IN_MEMORY",
      `${what} of workspace ${workspaceId} would keep secrets in a file: ${named.join("; ")}, and runs`,
      {
        hint: `end ${holders.length === 1 ? "it" : "them"} first, or allow it with --allow-secrets (\`allow_secrets\`)`,
        details: { holders: holders.map(({ kind, name, secrets }) => ({ kind, name, secrets })) },
      },
    );
  }

  /**
   * What is shown as its user gave it must not hold a secret.
   * @throws {PyroError} INVALID_ARGUMENT
   */
  refuseShown({ name, labels = {} }: Shown): void {
    const shown = [name ?? "", ...Object.entries(labels).flat()];
    if (!shown.some((text) => this.redactor.finds(text))) return;
    throw invalid("the name or a label holds the value of a secret", "both are shown: choose others");
  }

  /** An error without secrets in what is shown of it. */
  error(thrown: unknown): PyroError {
    const error = PyroError.from(thrown);
    const { redactor } = this;
    const shown = redactor.values([error.message, error.hint, error.details] as const);
    const before = [error.message, error.hint, error.details] as const;
    if (redactor.isEmpty || JSON.stringify(shown) === JSON.stringify(before)) return error;
    // Without its cause, which says the same again.
    const [message, hint, details] = shown;
    return new PyroError(error.code, message, { hint, details, retryable: error.retryable });
  }

  #notFound(name: string): PyroError {
    const names = this.all.map((secret) => secret.name);
    return new PyroError(
      "SECRET_NOT_FOUND",
      `workspace ${this.workspaceId} has no secret ${JSON.stringify(name.slice(0, 80))}`,
      {
        hint:
          names.length === 0
            ? "it was created without secrets: they are given at create, with --secret or --secret-file (`secrets`)"
            : `the secrets that it has: ${names.join(", ")}`,
      },
    );
  }
}
