const NAME = /^(?=.{1,253}$)[a-z\d]([a-z\d-]*[a-z\d])?(\.[a-z\d]([a-z\d-]*[a-z\d])?)*$/i;
/** What URLs and resolvers take for an IPv4 address, also in parts: 127.1, 0x7f000001. */
const ENDS_IN_NUMBER = /(^|\.)(\d+|0x[\da-f]*)$/i;

/** Whether it is a host's name as it stands in a URL or a Host header: no address, no port, no wildcard. */
export function isHostName(text: string): boolean {
  return NAME.test(text) && !ENDS_IN_NUMBER.test(text);
}
