import { parseIp } from '../../src/linux/ip.ts';

/** The name that leads from an address back to names: `5.1.244.10.in-addr.arpa`. Undefined when the text is no address. */
export function reverseName(address: string): string | undefined {
  let bytes: Uint8Array;
  try {
    bytes = parseIp(address);
  } catch {
    return undefined;
  }
  if (bytes.length === 4) return `${[...bytes].reverse().join('.')}.in-addr.arpa`;
  const nibbles = [...bytes].flatMap((byte) => [byte >> 4, byte & 0xf]);
  return `${nibbles
    .reverse()
    .map((nibble) => nibble.toString(16))
    .join('.')}.ip6.arpa`;
}
