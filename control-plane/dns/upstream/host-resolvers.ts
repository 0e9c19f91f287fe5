import { readFile, stat } from 'node:fs/promises';
import { isIP } from 'node:net';
import type { Clock } from '../../../src/runtime/clock.ts';
import type { Logger } from '../../../src/runtime/log.ts';

export interface UpstreamServer {
  address: string;
  port: number;
}

const DNS_PORT = 53;
/** As resolv.conf(5) has it: what comes after the third is not asked. */
const MAX_SERVERS = 3;
const LOOK_EVERY_MS = 2000;

/** The `nameserver` lines of a resolv.conf; lines that hold no address are passed over. */
export function parseNameservers(text: string): UpstreamServer[] {
  const addresses = text
    .split('\n')
    .map((line) => /^\s*nameserver\s+(\S+)/.exec(line)?.[1] ?? '')
    .filter((address) => isIP(address.replace(/%.*$/, '')) !== 0);
  return [...new Set(addresses)].slice(0, MAX_SERVERS).map((address) => ({ address, port: DNS_PORT }));
}

export interface HostResolversOptions {
  /** `/etc/resolv.conf` */
  file: string;
  /** Addresses that lead back to this server: asking them would go round in a circle. */
  ownAddresses: readonly string[];
}

/** The host's own name servers; `run` looks every two seconds whether their file has changed. */
export function createHostResolvers(options: HostResolversOptions, { clock, log }: { clock: Clock; log: Logger }) {
  const { file } = options;
  let servers: readonly UpstreamServer[] = [];
  let seen = '';
  const listeners = new Set<() => void>();

  async function look(): Promise<void> {
    const identity = await stat(file).then(
      ({ mtimeMs, ino, size }) => `${mtimeMs} ${ino} ${size}`,
      () => 'absent',
    );
    if (identity === seen) return;
    const text = identity === 'absent' ? '' : await readFile(file, 'utf8').catch(() => '');
    seen = identity;
    const named = parseNameservers(text);
    const usable = named.filter(({ address }) => !options.ownAddresses.includes(address));
    if (usable.length < named.length)
      log.warn(
        { file },
        "the cluster's own DNS server stands among the host's name servers; it is not asked from here",
      );
    if (usable.length === 0) log.warn({ file }, 'the host has no name servers: only names of the cluster are answered');
    if (JSON.stringify(usable) === JSON.stringify(servers)) return;
    servers = usable;
    log.info({ file, servers: servers.map(({ address }) => address) }, "the host's name servers");
    for (const listener of listeners) listener();
  }

  return {
    servers: () => servers,
    look,
    onChange: (listener: () => void) => void listeners.add(listener),
    async run(signal: AbortSignal): Promise<void> {
      while (!signal.aborted) {
        await look();
        await clock.sleep(LOOK_EVERY_MS, signal).catch(() => {});
      }
    },
  };
}
