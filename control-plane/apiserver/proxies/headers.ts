import { lookup } from 'node:dns/promises';
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';

type Headers = Record<string, string | string[]>;

/** Headers of one connection only (RFC 9110 §7.6.1), and what would make the other side take the caller for somebody else. */
const KEPT_BACK =
  /^(connection|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade|host|authorization|content-length|impersonate-.*|x-remote-.*|:.*)$/i;

const SPECIAL = ['loopback', 'linkLocal', 'unspecified', 'multicast', 'broadcast'];

/** What of a request goes on to whom it is for. */
export function passedOn(request: IncomingMessage): Headers {
  const entries = Object.entries(request.headers).filter(
    ([name, value]) => value !== undefined && !KEPT_BACK.test(name),
  );
  return Object.fromEntries(entries) as Headers;
}

/** What of an answer goes back. */
export function answerHeaders(headers: Record<string, string | string[] | undefined>): Headers {
  const kept = Object.entries(headers).filter(
    ([name, value]) => value !== undefined && (name === 'content-length' || !KEPT_BACK.test(name)),
  );
  return Object.fromEntries(kept) as Headers;
}

/** An address that would lead a request into the API server's own host, or to all of its neighbours (CVE-2022-3294); undefined: none. */
export async function specialAddress(host: string): Promise<string | undefined> {
  const addresses = isIP(host)
    ? [host]
    : (await lookup(host, { all: true }).catch(() => [])).map(({ address }) => address);
  return addresses.find((address) => SPECIAL.includes(ipaddr.process(address).range()));
}
