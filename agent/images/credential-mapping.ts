import type { Coordinates, Credential } from './keyring.ts';

/** `ImagePullCredentials` of KEP-2535: who may use an image under one name. */
export interface PullCredentials {
  /** Pulled without credentials, or with the node's own: every pod may use it. */
  nodePodsAccessible?: boolean;
  kubernetesSecrets?: SecretRecord[];
  kubernetesServiceAccounts?: Coordinates[];
}

export interface SecretRecord extends Coordinates {
  credentialHash: string;
}

/** How a pull that used this credential is recorded. */
export function pullCredentialsOf(used: Credential | undefined): PullCredentials {
  const source = used?.source;
  if (!used || !source) return { nodePodsAccessible: true };
  if ('secret' in source) return { kubernetesSecrets: [{ ...source.secret, credentialHash: used.hash }] };
  return { kubernetesServiceAccounts: [{ ...source.serviceAccount }] };
}

/** More secrets than these are not written down when a pod is only let in: namespaces may come and go without end. */
const MOST_SECRETS_WHILE_MATCHING = 100;

/**
 * Whether what is recorded lets a pod with these credentials use the image: a secret with the same content, or the same
 * secret (its content may have been rotated since), or the same service account.
 * @returns false, or what is now known in addition (undefined: nothing new)
 */
export function matchCredentials(
  recorded: PullCredentials,
  offered: readonly Credential[],
): false | { learned: PullCredentials | undefined } {
  if (recorded.nodePodsAccessible) return { learned: undefined };
  const secrets = recorded.kubernetesSecrets ?? [];
  const mayLearn = secrets.length < MOST_SECRETS_WHILE_MATCHING;
  for (const { source, hash } of offered) {
    if (!source || !('secret' in source)) continue;
    const offer = { ...source.secret, credentialHash: hash };
    for (const known of secrets) {
      const hashMatches = known.credentialHash !== '' && known.credentialHash === hash;
      const isSame = isSameObject(known, offer);
      if (hashMatches) return { learned: isSame || !mayLearn ? undefined : { kubernetesSecrets: [offer] } };
      if (isSame && mayLearn) return { learned: { kubernetesSecrets: [offer] } };
    }
  }
  // Tokens are made for a pod's one service account: the first stands for all.
  const account = offered.map(({ source }) => source).find((source) => source && 'serviceAccount' in source);
  const accounts = recorded.kubernetesServiceAccounts ?? [];
  if (account && 'serviceAccount' in account && accounts.some((known) => isSameObject(known, account.serviceAccount)))
    return { learned: undefined };
  return false;
}

/** Both together; undefined when `more` says nothing new. */
export function mergeCredentials(
  known: PullCredentials | undefined,
  more: PullCredentials,
): PullCredentials | undefined {
  const says = more.nodePodsAccessible || more.kubernetesSecrets?.length || more.kubernetesServiceAccounts?.length;
  if (!says || known?.nodePodsAccessible) return undefined;
  if (!known) return more;
  if (more.nodePodsAccessible) return { nodePodsAccessible: true };
  const secrets = mergeLists(known.kubernetesSecrets ?? [], more.kubernetesSecrets ?? [], isSameSecret);
  const accounts = mergeLists(
    known.kubernetesServiceAccounts ?? [],
    more.kubernetesServiceAccounts ?? [],
    isSameObject,
  );
  if (!secrets && !accounts) return undefined;
  return {
    ...known,
    ...(secrets && { kubernetesSecrets: secrets }),
    ...(accounts && { kubernetesServiceAccounts: accounts }),
  };
}

/** One entry an object, the newer one; sorted. undefined: nothing new. */
function mergeLists<T extends Coordinates>(
  known: readonly T[],
  more: readonly T[],
  isEqual: (a: T, b: T) => boolean,
): T[] | undefined {
  const fresh = more.filter((one) => !known.some((other) => isEqual(one, other)));
  if (fresh.length === 0) return undefined;
  const kept = known.filter((one) => !fresh.some((other) => isSameObject(one, other)));
  return [...kept, ...fresh].sort(byCoordinates);
}

function isSameObject(a: Coordinates, b: Coordinates): boolean {
  return a.uid === b.uid && a.namespace === b.namespace && a.name === b.name;
}

function isSameSecret(a: SecretRecord, b: SecretRecord): boolean {
  return isSameObject(a, b) && a.credentialHash === b.credentialHash;
}

function byCoordinates(a: Coordinates, b: Coordinates): number {
  for (const field of ['namespace', 'name', 'uid'] as const)
    if (a[field] !== b[field]) return a[field] < b[field] ? -1 : 1;
  return 0;
}
