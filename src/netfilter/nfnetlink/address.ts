import ipaddr from 'ipaddr.js';

/** An address's bytes, 4 or 16. @throws Error when it is none */
export function addressBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(text.includes(':') ? 16 : 4);
  writeAddress(bytes, 0, text);
  return bytes;
}

/** Writes the bytes into a larger buffer. @throws Error when it is no address */
export function writeAddress(target: Uint8Array, at: number, text: string): void {
  if (text.includes(':')) target.set(ipaddr.IPv6.parse(text).toByteArray(), at);
  else writeIpv4(target, at, text);
}

/** Without a library's objects: a cold start reads 250,000 of these. */
function writeIpv4(target: Uint8Array, start: number, text: string): void {
  let index = 0;
  let value = 0;
  let digits = 0;
  for (let at = 0; at <= text.length; at++) {
    const code = at < text.length ? text.charCodeAt(at) - 48 : DOT;
    if (code === DOT && digits > 0 && value <= 255 && index < 4) {
      target[start + index++] = value;
      value = 0;
      digits = 0;
    } else if (code >= 0 && code <= 9) {
      value = value * 10 + code;
      digits++;
    } else break;
  }
  if (index !== 4 || digits !== 0) throw new Error(`not an IPv4 address: ${JSON.stringify(text)}`);
}

const DOT = '.'.charCodeAt(0) - 48;

/** A block's first address and mask; of a plain address all bits count. */
export function cidrBytes(text: string): { address: Uint8Array; mask: Uint8Array; isWhole: boolean } {
  const [host, prefix] = text.split('/');
  const address = addressBytes(host!);
  const bits = prefix === undefined ? address.length * 8 : Number(prefix);
  const mask = address.map((_, index) => (0xff00 >> Math.min(8, Math.max(0, bits - index * 8))) & 0xff);
  return { address: address.map((byte, index) => byte & mask[index]!), mask, isWhole: bits === address.length * 8 };
}
