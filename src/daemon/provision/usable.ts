/** Why a machine cannot use an address of the host's configuration; undefined where it can. Never holds any of the address. */
export function uselessBecause(address: string): string | undefined {
  if (!URL.canParse(address)) return "it is no address";
  const { protocol, username, password, hostname, search } = new URL(address);
  if (protocol !== "http:" && protocol !== "https:") return `a machine does not reach ${protocol} addresses`;
  if (username !== "" || password !== "" || search !== "") return "it has credentials in it";
  if (/^(localhost|.*\.localhost|127\..*|\[::1\])$/.test(hostname))
    return "it is a service of this host itself";
  return undefined;
}
