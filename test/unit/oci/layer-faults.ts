import type { ServerResponse } from "node:http";
import type { AddedImage, SeenRequest } from "../../fakes/fake-registry.js";
import type { Pulling } from "./pulling.js";

/** Whether a request is for the lowest layer. */
export const isLayer = ({ path }: { path: string }, image: AddedImage): boolean =>
  path.endsWith(image.layers[0] ?? "");

/** Its bytes. */
export const layerOf = (at: Pulling, image: AddedImage): Buffer =>
  at.registry.blobs.get(image.layers[0] ?? "") ?? Buffer.alloc(0);

/** How the layer is answered, the first time or each time. */
export function faultOfLayer(
  at: Pulling,
  image: AddedImage,
  answer: (response: ServerResponse, bytes: Buffer) => void,
  which: "first" | "each" = "each",
): void {
  at.registry.fault = (request, response, times) => {
    if (!isLayer(request, image) || (which === "first" && times > 0)) return false;
    answer(response, layerOf(at, image));
    return true;
  };
}

export const requestsOf = (at: Pulling, image: AddedImage): readonly SeenRequest[] =>
  at.registry.requests.filter((request) => isLayer(request, image));
