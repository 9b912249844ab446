import { parseAddress, type IpAddress } from "../../../src/network/index.js";

/** An address that the test spells. */
export function address(text: string): IpAddress {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new Error(`no address: ${text}`);
  return parsed;
}
