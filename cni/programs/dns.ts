import type { CniDns } from '../types.ts';
import type { Fields } from '../wire/fields.ts';

/** The key `dns`, as it becomes the result's; undefined where it says nothing. @throws CniError 7 naming the key. */
export function parseDns(fields: Fields): CniDns | undefined {
  const dns = fields.section('dns');
  const said = {
    nameservers: dns.texts('nameservers'),
    domain: dns.text('domain'),
    search: dns.texts('search'),
    options: dns.texts('options'),
  };
  const entries = Object.entries(said).filter(([, value]) => value.length > 0);
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}
