import { isIP } from 'node:net';
import { UserError } from '../output/failure.ts';

export type TraceProtocol = 'TCP' | 'UDP' | 'SCTP';

/** `DST:PORT` as typed. */
export interface Destination {
  host: { address: string } | { namespace: string; name: string };
  /** A number, or the name of a port of the Service. */
  port: number | string;
  protocol: TraceProtocol;
}

/** `--from` as typed. */
export type Origin =
  | { kind: 'node' }
  | { kind: 'address'; address: string }
  | { kind: 'pod'; namespace: string; name: string };

const DESTINATION =
  "IP:PORT, [IPv6]:PORT, SERVICE:PORT, NAMESPACE/SERVICE:PORT or SERVICE.NAMESPACE:PORT, with /udp or /sctp behind it where it isn't TCP";

/** @throws UserError that says what is accepted. */
export function parseDestination(text: string, namespace: string): Destination {
  const fail = (why: string): never => {
    throw new UserError(`trace ${text}: ${why}; a destination is ${DESTINATION}`, 2);
  };
  const [, host, port, suffix = 'tcp'] = /^(.+):([a-z0-9-]+)(?:\/(tcp|udp|sctp))?$/i.exec(text) ?? fail('no port');
  const protocol = suffix.toUpperCase() as TraceProtocol;
  const number = Number(port);
  if (Number.isInteger(number) && (number < 1 || number > 65_535)) fail(`there is no port ${port}`);
  const wanted = Number.isInteger(number) ? number : port!;
  const bare = host!.replace(/^\[(.*)\]$/, '$1');
  if (isIP(bare) !== 0) {
    if (typeof wanted === 'string') fail(`port ${wanted} has a name; with an address it must be a number`);
    if (isIP(bare) === 6 && bare === host) fail('an IPv6 address stands in brackets');
    return { host: { address: bare }, port: wanted, protocol };
  }
  const name = parseName(host!, namespace);
  if (!name) return fail(`${JSON.stringify(host)} is neither an address nor the name of a Service`);
  return { host: name, port: wanted, protocol };
}

/** @throws UserError that says what is accepted. */
export function parseOrigin(text: string, namespace: string): Origin {
  if (text === 'node') return { kind: 'node' };
  const [address, bits] = text.split('/') as [string, string | undefined];
  if (isIP(address) !== 0) {
    const most = isIP(address) === 4 ? 32 : 128;
    if (bits === undefined || (/^\d+$/.test(bits) && Number(bits) <= most)) return { kind: 'address', address: text };
  }
  const name = isIP(address) === 0 ? parseName(text, namespace) : undefined;
  if (!name)
    throw new UserError(
      `--from ${text}: give a pod (NAME or NAMESPACE/NAME), an address or a CIDR, or "node" for a process of this node`,
      2,
    );
  return { kind: 'pod', ...name };
}

/** `web`, `shop/web`, `web.shop`, `web.shop.svc.cluster.local`. */
function parseName(text: string, namespace: string): { namespace: string; name: string } | undefined {
  const label = '[a-z0-9]([-a-z0-9]*[a-z0-9])?';
  const [, slashNamespace, , slashName] = new RegExp(`^(${label})/(${label}(\\.${label})*)$`).exec(text) ?? [];
  if (slashNamespace && slashName) return { namespace: slashNamespace, name: slashName };
  const [, name, , dotNamespace = namespace] =
    new RegExp(`^(${label})(?:\\.(${label})(?:\\.svc(?:\\..+)?)?)?$`).exec(text) ?? [];
  return name ? { namespace: dotNamespace, name } : undefined;
}
