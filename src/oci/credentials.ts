import type { Endpoint } from "./registries.js";

/** What a user logged in with. Never in a message, a log or a record. */
export type Credentials =
  | { readonly kind: "password"; readonly username: string; readonly password: string }
  /** To be exchanged for a token by OAuth2. */
  | { readonly kind: "identity-token"; readonly token: string };

/** Finds what the user logged in with; undefined where they did not. */
export type CredentialSource = (
  endpoint: Endpoint,
  repository: string,
  signal: AbortSignal,
) => Promise<Credentials | undefined>;
