import { isIPv6 } from 'node:net';
import type { IPFamily, Service } from '../../../src/kube/types.ts';
import { type FieldError, invalid } from '../../apiserver/field-error.ts';
import { semanticEqual } from '../equality.ts';
import { isHeadless, needsClusterIp } from './kind-of-service.ts';

const otherFamily = (family: string): IPFamily => (family === 'IPv4' ? 'IPv6' : 'IPv4');
const familyOf = (address: string): IPFamily => (isIPv6(address) ? 'IPv6' : 'IPv4');

/** Its endpoints are somebody's by hand: they may be of any family, whatever the cluster has. */
const isFree = (service: Service) => isHeadless(service) && Object.keys(service.spec.selector ?? {}).length === 0;

/**
 * What the client leaves open of ipFamilyPolicy and ipFamilies, after the cluster's families (the default one first). A Service
 * changes between one stack and two by its policy only: one that prefers two keeps what it has when the cluster changes.
 * The rules are upstream's, KEP-563.
 */
export function applyFamilyDefaults(service: Service, old: Service | undefined, cluster: readonly IPFamily[]): void {
  if (!needsClusterIp(service) || (old && keepsPreference(service, old))) return;
  const { spec } = service;
  spec.ipFamilyPolicy ||= old?.spec.ipFamilyPolicy || (isFree(service) ? 'RequireDualStack' : 'SingleStack');
  if (old && spec.ipFamilyPolicy === 'SingleStack') dropSecond(service, old);
  const families = [...(spec.ipFamilies ?? [])];
  for (const address of isHeadless(service) ? [] : (spec.clusterIPs ?? []).slice(families.length)) {
    // Refused by `validateFamilies`, which names the address.
    if (!cluster.includes(familyOf(address))) return;
    families.push(familyOf(address));
  }
  if (families.length === 0) families.push(cluster[0]!);
  const wantsTwo = spec.ipFamilyPolicy !== 'SingleStack' && families.length === 1;
  if (wantsTwo && (isFree(service) || cluster.length === 2)) families.push(otherFamily(families[0]!));
  spec.ipFamilies = families;
}

function keepsPreference({ spec }: Service, { spec: before }: Service): boolean {
  const isSame = (field: 'ipFamilyPolicy' | 'ipFamilies' | 'clusterIP' | 'clusterIPs') =>
    semanticEqual(spec[field], before[field]);
  return (
    before.ipFamilyPolicy === 'PreferDualStack' &&
    (['ipFamilyPolicy', 'ipFamilies', 'clusterIP', 'clusterIPs'] as const).every(isSame)
  );
}

/** Going to one stack is intent enough: what the client left as it was follows. The first address and family stay. */
function dropSecond({ spec }: Service, { spec: before }: Service): void {
  if (semanticEqual(spec.clusterIPs, before.clusterIPs)) spec.clusterIPs = spec.clusterIPs?.slice(0, 1);
  if (semanticEqual(spec.ipFamilies, before.ipFamilies)) spec.ipFamilies = spec.ipFamilies?.slice(0, 1);
}

/** Whether policy, families and addresses fit together, and the cluster has what the client asks for. */
export function validateFamilies(service: Service, cluster: readonly IPFamily[]): FieldError[] {
  if (!needsClusterIp(service)) return [];
  const { ipFamilyPolicy, ipFamilies = [], clusterIPs = [] } = service.spec;
  const errors: FieldError[] = [];
  const policyError = (why: string) => errors.push(invalid('spec.ipFamilyPolicy', ipFamilyPolicy, why));
  if (ipFamilyPolicy === 'SingleStack') {
    const must = "must be 'RequireDualStack' or 'PreferDualStack' when multiple";
    if (clusterIPs.length === 2) policyError(`${must} cluster IPs are specified`);
    if (ipFamilies.length === 2) policyError(`${must} IP families are specified`);
  }
  if (isFree(service)) return errors;
  if (ipFamilyPolicy === 'RequireDualStack' && cluster.length < 2)
    policyError('this cluster is not configured for dual-stack services');
  ipFamilies.forEach((family, index) => {
    const isFamily = family === 'IPv4' || family === 'IPv6';
    if (isFamily && !cluster.includes(family))
      errors.push(invalid(`spec.ipFamilies[${index}]`, family, 'not configured on this cluster'));
  });
  if (!isHeadless(service))
    clusterIPs.slice(ipFamilies.length).forEach((address, offset) => {
      const field = `spec.clusterIPs[${ipFamilies.length + offset}]`;
      const family = familyOf(address);
      if (!cluster.includes(family))
        errors.push(invalid(field, clusterIPs, `${family} is not configured on this cluster`));
    });
  return errors;
}

/** The second address and family go by the policy only. */
export function validateFamilyUpdate(service: Service, old: Service): FieldError[] {
  if (!needsClusterIp(service) || !needsClusterIp(old) || service.spec.ipFamilyPolicy === 'SingleStack') return [];
  const { spec } = service;
  const lost = (field: 'clusterIPs' | 'ipFamilies') => (old.spec[field]?.length ?? 0) > (spec[field]?.length ?? 0);
  const errors: FieldError[] = [];
  const must = "must be 'SingleStack' to release the secondary";
  if (lost('clusterIPs')) errors.push(invalid('spec.ipFamilyPolicy', spec.ipFamilyPolicy, `${must} cluster IP`));
  if (lost('ipFamilies')) errors.push(invalid('spec.ipFamilyPolicy', spec.ipFamilyPolicy, `${must} IP family`));
  return errors;
}
