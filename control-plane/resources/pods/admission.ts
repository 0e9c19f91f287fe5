import type { Pod, ServiceAccount, Toleration } from '../../../src/kube/types.ts';
import type { StrategyContext } from '../../apiserver/definition.ts';
import { forbidden } from '../../apiserver/status-error.ts';
import { referencesOf } from '../../authorization/pod-references.ts';
import { mountApiAccess } from './api-access.ts';

/**
 * What upstream's built-in admission adds to pods on create (sheet §14): service account, priority, tolerations. The
 * order is upstream's.
 */

export const MIRROR_POD_ANNOTATION = 'kubernetes.io/config.mirror';
const PODS = { group: '', plural: 'pods', kind: 'Pod' };
const SERVICE_ACCOUNTS = { group: '', plural: 'serviceaccounts' };

/** A namespace's default account is made by a controller just after the namespace: wait for it this often … */
const DEFAULT_ACCOUNT_ATTEMPTS = 10;
/** … and this long each time. */
const DEFAULT_ACCOUNT_WAIT_MS = 100;

/** How long pods that don't say so stay on a node in trouble. */
export interface DefaultTolerationSeconds {
  /** On one that says that it is not ready. */
  readonly notReady: number;
  /** On one that fell silent. */
  readonly unreachable: number;
}

/** Upstream's five minutes. */
export const TOLERATION_SECONDS_DEFAULTS: DefaultTolerationSeconds = { notReady: 300, unreachable: 300 };

export interface PodAdmissionOptions {
  /** TOLERATION_SECONDS_DEFAULTS unless said. */
  tolerationSeconds?: DefaultTolerationSeconds;
  /** Resolves after `ms`. */
  sleep(ms: number): Promise<void>;
  /** Below 1, for names; Math.random unless said. */
  random?(): number;
}

export async function admitPod(pod: Pod, context: StrategyContext, options: PodAdmissionOptions): Promise<void> {
  await admitServiceAccount(pod, context, options);
  admitPriority(pod);
  admitTolerations(pod, options.tolerationSeconds ?? TOLERATION_SECONDS_DEFAULTS);
}

const refuse = (pod: Pod, why: string) => forbidden(PODS, pod.metadata.name ?? '', why);

async function admitServiceAccount(pod: Pod, context: StrategyContext, options: PodAdmissionOptions): Promise<void> {
  // A mirror pod only shows what a node runs anyhow: it may not gain rights from here.
  if (pod.metadata.annotations?.[MIRROR_POD_ANNOTATION] !== undefined) {
    if (pod.spec.serviceAccountName) throw refuse(pod, 'a mirror pod may not reference service accounts');
    if (referencesOf(pod).secrets.size > 0) throw refuse(pod, 'a mirror pod may not reference secrets');
    if (projectsToken(pod)) throw refuse(pod, 'a mirror pod may not use ServiceAccountToken volume projections');
    return;
  }
  const name = pod.spec.serviceAccountName || 'default';
  pod.spec.serviceAccountName = name;
  pod.spec.serviceAccount = name;
  const account = await findServiceAccount(pod, name, context, options);
  if (!account)
    throw refuse(
      pod,
      `error looking up service account ${pod.metadata.namespace}/${name}: serviceaccount ${JSON.stringify(name)} not found`,
    );
  if (pod.spec.automountServiceAccountToken ?? account.automountServiceAccountToken ?? true)
    mountApiAccess(pod.spec, options.random ?? Math.random);
  if ((pod.spec.imagePullSecrets ?? []).length === 0 && (account.imagePullSecrets ?? []).length > 0)
    pod.spec.imagePullSecrets = structuredClone(account.imagePullSecrets);
}

const projectsToken = ({ spec }: Pod) =>
  (spec.volumes ?? []).some(({ projected }) =>
    (projected?.sources ?? []).some(({ serviceAccountToken }) => serviceAccountToken !== undefined),
  );

async function findServiceAccount(
  pod: Pod,
  name: string,
  context: StrategyContext,
  options: PodAdmissionOptions,
): Promise<ServiceAccount | undefined> {
  const attempts = name === 'default' ? DEFAULT_ACCOUNT_ATTEMPTS : 1;
  for (let attempt = 1; ; attempt++) {
    const account = await context.objects.get<ServiceAccount>(SERVICE_ACCOUNTS, pod.metadata.namespace ?? '', name);
    if (account || attempt >= attempts) return account;
    await options.sleep(DEFAULT_ACCOUNT_WAIT_MS);
  }
}

/** The built-in classes. Others come with the PriorityClass kind. */
const SYSTEM_PRIORITY_CLASSES: Readonly<Record<string, number>> = {
  'system-cluster-critical': 2_000_000_000,
  'system-node-critical': 2_000_001_000,
};

function admitPriority(pod: Pod): void {
  const { spec } = pod;
  const className = spec.priorityClassName ?? '';
  const priority = className === '' ? 0 : SYSTEM_PRIORITY_CLASSES[className];
  if (priority === undefined) throw refuse(pod, `no PriorityClass with name ${className} was found`);
  if (typeof spec.priority === 'number' && spec.priority !== priority)
    throw refuse(
      pod,
      `the integer value of priority (${spec.priority}) must not be provided in pod spec; priority admission controller computed ${priority} from the given PriorityClass name`,
    );
  spec.priority = priority;
  spec.preemptionPolicy ||= 'PreemptLowerPriority';
}

/** A pod stays for a while on a node in trouble unless it says otherwise. */
function admitTolerations(pod: Pod, { notReady, unreachable }: DefaultTolerationSeconds): void {
  const given = pod.spec.tolerations ?? [];
  const tolerates = (key: string) =>
    given.some(
      (toleration) =>
        (!toleration.key || toleration.key === key) && (!toleration.effect || toleration.effect === 'NoExecute'),
    );
  const secondsOf = { 'node.kubernetes.io/not-ready': notReady, 'node.kubernetes.io/unreachable': unreachable };
  const added = Object.entries(secondsOf)
    .filter(([key]) => !tolerates(key))
    .map(
      ([key, tolerationSeconds]): Toleration => ({ key, operator: 'Exists', effect: 'NoExecute', tolerationSeconds }),
    );
  if (added.length > 0) pod.spec.tolerations = [...given, ...added];
}
