/** A URL without the credentials in it, and without its query, where tokens travel too. */
export function withoutCredentials(url: string): string {
  return url.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/]*@/i, "$1").replace(/\?.*$/s, "");
}
