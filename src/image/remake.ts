import { shown } from "../kit/index.js";
import type { EnvironmentSource } from "./record.js";

/** What brings back an environment whose image is damaged or gone, as the next thing to type. */
export function remakeHint({
  name,
  source,
  image,
}: {
  readonly name: string;
  readonly source: EnvironmentSource;
  readonly image?: { readonly origin?: { readonly reference: string } | undefined };
}): string {
  switch (source) {
    case "curated":
    case "image":
      return `run \`pyro env pull ${name}\`: it makes the image again`;
    case "archive":
      return `run \`pyro env pull ${name} --from FILE\` with the archive that it was made of, ${shown(image?.origin?.reference ?? "")}`;
    case "build":
    case "workspace":
      return "make it again as it was made; `pyro env inspect` says how";
  }
}
