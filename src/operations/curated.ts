/** The curated environments, for help texts and tool schemas: known without asking the daemon. */
export const CURATED_ENVIRONMENTS = [
  { name: "debian:12", says: "bash, git, Python 3, curl, ripgrep, jq, make: what agents reach for daily" },
  { name: "debian:12-base", says: "minimal" },
  { name: "debian:12-build", says: "debian:12 plus compilers and common build tools" },
] as const;

/** Taken where nobody names an environment. */
export const DEFAULT_ENVIRONMENT = "debian:12";

/** One line that names them all. */
export const ENVIRONMENTS_LINE = CURATED_ENVIRONMENTS.map(({ name, says }) => `${name} (${says})`).join(", ");
