import type { CniDns } from '../types.ts';

/** Pure; comments and what CNI has no word for are left out. */
export function parseResolvConf(text: string): CniDns {
  const dns: Required<CniDns> = { nameservers: [], domain: '', search: [], options: [] };
  for (const line of text.split('\n')) {
    const [word, ...rest] = line.trim().split(/\s+/);
    if (word === 'nameserver' && rest[0]) dns.nameservers.push(rest[0]);
    if (word === 'domain' && rest[0]) dns.domain = rest[0];
    if (word === 'search') dns.search.push(...rest);
    if (word === 'options') dns.options.push(...rest);
  }
  return Object.fromEntries(Object.entries(dns).filter(([, value]) => value.length > 0));
}
