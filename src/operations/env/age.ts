import * as z from "zod";

const UNITS: Readonly<Record<string, number>> = { m: 60, h: 3600, d: 24 * 3600, w: 7 * 24 * 3600 };

/** A length of time as people write it: "30d", "12h". */
export const age = (): z.ZodString =>
  z.string().regex(/^[1-9]\d{0,5}[mhdw]$/, "a number and a unit, m, h, d or w: 30d, 12h");

/** The same in seconds. */
export function secondsOf(text: string): number {
  return Number(text.slice(0, -1)) * (UNITS[text.slice(-1)] ?? 0);
}

/** How long ago a moment was, for a column: "now", "5 min", "3 h", "12 days"; "-" where there was none. */
export function ago(at: string | null, nowMs = Date.now()): string {
  if (at === null) return "-";
  const minutes = Math.floor((nowMs - Date.parse(at)) / 60_000);
  if (minutes < 1) return "now";
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h`;
  return `${Math.floor(hours / 24)} days`;
}
