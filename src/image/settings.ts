import type { EnvironmentRecipe } from "./catalogue.js";
import type { BuildStep } from "./builder.js";
import { LayerFile } from "./layer-file.js";

/**
 * Writes the last layer of every environment: what the guest is told about itself, in place of what the making left
 * there, and the script that cleans up. Nothing in it comes from the host.
 */
export async function writeSettingsLayer(
  target: string,
  recipe: EnvironmentRecipe,
  finishScript: string,
): Promise<BuildStep[]> {
  await using layer = await LayerFile.create(target);
  await layer.file("./etc/hostname", "pyro\n");
  await layer.file("./etc/hosts", "127.0.0.1 localhost pyro\n::1 localhost ip6-localhost ip6-loopback\n");
  await layer.file("./etc/resolv.conf", "");
  // Empty means "to be set at the first start" (machine-id(5)); the agent gives each machine its own.
  await layer.file("./etc/machine-id", "");
  await layer.file("./etc/apt/sources.list.d/debian.sources", recipe.guestSources);
  await layer.directory("./.pyro-build");
  await layer.file("./.pyro-build/finish.sh", finishScript, 0o755);
  await layer.finish();
  return [{ argv: ["/bin/sh", "/.pyro-build/finish.sh"], env: [] }];
}
