import * as z from "zod";

/** What holds for commands in an environment where they say nothing else: what its image's configuration says. */
export const environmentConfigSchema = z.object({
  /** "NAME=value". */
  env: z.array(z.string()).readonly(),
  /** "", a name or an id, with ":" and a group where there is one: the guest looks it up in the environment's own files. */
  user: z.string(),
  /** "": none is named. */
  workingDir: z.string(),
  entrypoint: z.array(z.string()).readonly(),
  cmd: z.array(z.string()).readonly(),
});
export type EnvironmentConfig = z.output<typeof environmentConfigSchema>;
