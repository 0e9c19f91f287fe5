import { isIPv6 } from 'node:net';
import type { Service } from '../../../src/kube/types.ts';
import { duplicate, type FieldError, invalid, notSupported, required } from '../../apiserver/field-error.ts';
import { invalidFor, ipProblems } from '../values.ts';
import { isHeadless, needsClusterIp } from './kind-of-service.ts';

const FAMILIES = ['IPv4', 'IPv6'];
const FAMILY_POLICIES = ['PreferDualStack', 'RequireDualStack', 'SingleStack'];

/** clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy fit together. */
export function validateAddressing(service: Service): FieldError[] {
  if (!needsClusterIp(service)) return [];
  const { spec } = service;
  const clusterIPs = spec.clusterIPs ?? [];
  const families = spec.ipFamilies ?? [];
  const errors: FieldError[] = [];
  if (spec.clusterIP) {
    if (clusterIPs.length === 0) errors.push(required('spec.clusterIPs'));
    else if (clusterIPs[0] !== spec.clusterIP)
      errors.push(invalid('spec.clusterIPs', clusterIPs, 'first value must match `clusterIP`'));
  } else if (clusterIPs.length > 0)
    errors.push(invalid('spec.clusterIPs', clusterIPs, 'must be empty when `clusterIP` is not specified'));
  families.forEach((family, index) => {
    if (!FAMILIES.includes(family)) errors.push(notSupported(`spec.ipFamilies[${index}]`, family, FAMILIES));
    if (families.indexOf(family) < index) errors.push(duplicate(`spec.ipFamilies[${index}]`, family));
  });
  if (spec.ipFamilyPolicy && !FAMILY_POLICIES.includes(spec.ipFamilyPolicy))
    errors.push(notSupported('spec.ipFamilyPolicy', spec.ipFamilyPolicy, FAMILY_POLICIES));
  const malformed = clusterIPs.flatMap((address, index) => {
    if (index === 0 && address === 'None')
      return clusterIPs.length > 1
        ? [invalid('spec.clusterIPs', clusterIPs, "'None' must be the first and only value")]
        : [];
    return invalidFor(`spec.clusterIPs[${index}]`, address, ipProblems(address));
  });
  errors.push(...malformed);
  if (clusterIPs.length > 2) errors.push(invalid('spec.clusterIPs', clusterIPs, 'may only hold up to 2 values'));
  if (malformed.length > 0) return errors;
  const isV6 = clusterIPs.map((address) => isIPv6(address));
  if (clusterIPs.length > 1 && new Set(isV6).size < 2)
    errors.push(invalid('spec.clusterIPs', clusterIPs, 'may specify no more than one IP for each IP family'));
  if (!isHeadless(service))
    clusterIPs.slice(0, families.length).forEach((address, index) => {
      const expected = families[index]!;
      if ((expected === 'IPv6') !== isV6[index])
        errors.push(
          invalid(
            `spec.clusterIPs[${index}]`,
            address,
            `expected an ${expected} value as indicated by \`ipFamilies[${index}]\``,
          ),
        );
    });
  return errors;
}
