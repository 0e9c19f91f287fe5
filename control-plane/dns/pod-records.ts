import { isIP } from 'node:net';

/**
 * The address that a pod's name says: `10-244-1-5` is 10.244.1.5, `fd00--1-5` is fd00::1:5. Whether such a pod exists is not asked
 * (upstream's `pods insecure`). Undefined when the label is no address.
 */
export function addressOfPodLabel(label: string): { type: 'A' | 'AAAA'; address: string } | undefined {
  const dotted = label.replaceAll('-', '.');
  if (isIP(dotted) === 4) return { type: 'A', address: dotted };
  const colons = label.replaceAll('-', ':');
  return isIP(colons) === 6 ? { type: 'AAAA', address: colons } : undefined;
}
