import { isLabelValue, isQualifiedName } from '../../src/kube/selectors.ts';

/** Labels of Kubernetes' own domains that a node may give itself (NodeRestriction), beside those below the prefixes. */
const ALLOWED = [
  'kubernetes.io/hostname',
  'kubernetes.io/arch',
  'kubernetes.io/os',
  'beta.kubernetes.io/arch',
  'beta.kubernetes.io/os',
  'beta.kubernetes.io/instance-type',
  'node.kubernetes.io/instance-type',
  'failure-domain.beta.kubernetes.io/region',
  'failure-domain.beta.kubernetes.io/zone',
  'topology.kubernetes.io/region',
  'topology.kubernetes.io/zone',
];
const ALLOWED_DOMAINS = ['kubelet.kubernetes.io', 'node.kubernetes.io'];
const RESERVED_DOMAINS = ['kubernetes.io', 'k8s.io'];

/**
 * `key=value,key=value` of `--node-labels`.
 * @throws Error with the label that cannot be and what can
 */
export function parseNodeLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const pair of text.split(',').filter((one) => one !== '')) {
    const [key = '', ...rest] = pair.split('=');
    const value = rest.join('=');
    if (rest.length === 0) throw refusal(pair, 'key=value');
    if (!isQualifiedName(key)) throw refusal(pair, 'a key such as "disk" or "example.com/disk"');
    if (!isLabelValue(value))
      throw refusal(
        pair,
        'a value of at most 63 letters, digits, "-", "_" and ".", that begins and ends with a letter or digit',
      );
    if (!isSelfSettable(key))
      throw refusal(
        pair,
        `in the domains kubernetes.io and k8s.io only ${ALLOWED.join(', ')} and what begins with ${ALLOWED_DOMAINS.join('/ or ')}/`,
      );
    labels[key] = value;
  }
  return labels;
}

function isSelfSettable(key: string): boolean {
  if (!key.includes('/') || ALLOWED.includes(key)) return true;
  const domain = key.slice(0, key.indexOf('/'));
  const isIn = (domains: string[]) => domains.some((one) => domain === one || domain.endsWith(`.${one}`));
  return isIn(ALLOWED_DOMAINS) || !isIn(RESERVED_DOMAINS);
}

function refusal(pair: string, accepted: string): Error {
  return new Error(`--node-labels: ${JSON.stringify(pair)}; accepted: ${accepted}`);
}
