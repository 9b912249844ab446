export { shown } from "../kit/index.js";

/** What is wrong with a text that somebody wrote, and what to write instead. */
export interface Problem {
  readonly problem: string;
  readonly hint: string;
}

export function isProblem(value: object): value is Problem {
  return "problem" in value;
}
