import { parseQuantity } from '../../src/kube/quantity.ts';
import { CNI_ERROR, CniError } from '../types.ts';

/** What the capability `bandwidth` offers: bits a second, and bits. */
export interface Bandwidth {
  ingressRate?: number;
  ingressBurst?: number;
  egressRate?: number;
  egressBurst?: number;
}

/** Upstream leaves bursts unlimited, as far as 32 bits go. */
const BURST_BITS = 2_147_483_647;
const LEAST_BITS = 1_000;
const MOST_BITS = 1_000_000_000_000_000;

const INGRESS = 'kubernetes.io/ingress-bandwidth';
const EGRESS = 'kubernetes.io/egress-bandwidth';

/**
 * From a pod's annotations; undefined when it has neither. Bounds are upstream's, 1k to 1P bits a second. Pure.
 * @throws CniError 7 naming annotation and value.
 */
export function parseBandwidth(annotations: Readonly<Record<string, string>>): Bandwidth | undefined {
  const [ingressRate, egressRate] = [rateOf(annotations, INGRESS), rateOf(annotations, EGRESS)];
  if (ingressRate === undefined && egressRate === undefined) return undefined;
  return {
    ...(ingressRate !== undefined && { ingressRate, ingressBurst: BURST_BITS }),
    ...(egressRate !== undefined && { egressRate, egressBurst: BURST_BITS }),
  };
}

function rateOf(annotations: Readonly<Record<string, string>>, name: string): number | undefined {
  const text = annotations[name];
  if (text === undefined) return undefined;
  const wrong = (why: string) =>
    new CniError(
      CNI_ERROR.invalidNetworkConfig,
      `failed to get pod bandwidth from annotations: ${name}: ${JSON.stringify(text)}: ${why}`,
    );
  let bits: number;
  try {
    bits = Number(parseQuantity(text).value);
  } catch (error) {
    throw wrong((error as Error).message);
  }
  if (bits < LEAST_BITS) throw wrong('resource is unreasonably small (< 1kbit)');
  if (bits > MOST_BITS) throw wrong('resource is unreasonably large (> 1Pbit)');
  return bits;
}
