/** What policy says of a name or a connection. */
export type Verdict =
  | { readonly allowed: true }
  | {
      readonly allowed: false;
      /** One line for a model: what was refused, and why. */
      readonly reason: string;
      /** One line: how the user, and nobody else, could allow it. */
      readonly hint: string;
    };

export type Refusal = Extract<Verdict, { allowed: false }>;

export const ALLOWED: Verdict = { allowed: true };

/** `subject` is canonical or was made harmless: it comes from the guest. */
export function refused(subject: string, why: string, hint: string): Refusal {
  return { allowed: false, reason: `the network policy refuses ${subject}: ${why}`, hint };
}

/** The two ways in which a user gives a flag. */
export function userFlag(flag: string): string {
  return `only the user can allow it: \`pyro workspace network set ID --add ${flag}\`, or ${flag} when it is created`;
}
