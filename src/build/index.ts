/**
 * Environments of one's own, built step by step on another one: of options, of a recipe, or of a Dockerfile.
 *
 * Invariants:
 * - a step runs in a machine of its own, over the base's image and the layers of the steps before; what it wrote is a
 *   layer only once that machine has ended in order, and its record is written last;
 * - a layer's name says all that its content depends on, so that whatever changes changes all names above it;
 * - nothing outside of the context is read, and no link leads out of it;
 * - whoever is killed leaves whole layers and nothing that is taken for one.
 */
export {
  EnvironmentBuilds,
  type BuildRequest,
  type BuildResult,
  type EnvironmentBuildsOptions,
} from "./builds.js";
export type { BuildEvents } from "./build-run.js";
export { layerMaker } from "./layer-maker.js";
export type { StepCommand, StepMachine, StepMachines, StepMachineSpec } from "./machines.js";
export { readRecipe, recipeOf } from "./recipe-file.js";
export type { Recipe } from "./recipe.js";
