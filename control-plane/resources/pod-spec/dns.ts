import type { HostAlias, PodSpec } from '../../../src/kube/types.ts';
import { type FieldError, invalid, notSupported, required } from '../../apiserver/field-error.ts';
import { subdomainName } from '../../apiserver/names.ts';
import { invalidFor, ipProblems } from '../values.ts';

/** dnsPolicy, dnsConfig and hostAliases. The limits are those of the C library's resolver. */

const DNS_POLICIES = ['ClusterFirstWithHostNet', 'ClusterFirst', 'Default', 'None'];
const MOST_NAMESERVERS = 3;
const MOST_SEARCHES = 32;
const SEARCHES_LENGTH = 2048;

const RELAXED_SUBDOMAIN = /^_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*$/;
const RELAXED_SUBDOMAIN_RULE =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')";

export function validateDns(spec: PodSpec, field: string): FieldError[] {
  const { dnsPolicy, dnsConfig } = spec;
  const at = `${field}.dnsConfig`;
  const errors: FieldError[] = [];
  if (!dnsPolicy) errors.push(required(`${field}.dnsPolicy`));
  else if (!DNS_POLICIES.includes(dnsPolicy)) errors.push(notSupported(`${field}.dnsPolicy`, dnsPolicy, DNS_POLICIES));
  if (dnsPolicy === 'None' && !dnsConfig)
    return [...errors, required(at, 'must provide `dnsConfig` when `dnsPolicy` is None')];
  if (!dnsConfig) return errors;
  const nameservers = dnsConfig.nameservers ?? [];
  const searches = dnsConfig.searches ?? [];
  if (dnsPolicy === 'None' && nameservers.length === 0)
    return [
      ...errors,
      required(`${at}.nameservers`, 'must provide at least one DNS nameserver when `dnsPolicy` is None'),
    ];
  if (nameservers.length > MOST_NAMESERVERS)
    errors.push(invalid(`${at}.nameservers`, nameservers, `must not have more than ${MOST_NAMESERVERS} nameservers`));
  nameservers.forEach((address, index) => {
    errors.push(...invalidFor(`${at}.nameservers[${index}]`, address, ipProblems(address)));
  });
  if (searches.length > MOST_SEARCHES)
    errors.push(invalid(`${at}.searches`, searches, `must not have more than ${MOST_SEARCHES} search paths`));
  if (searches.join(' ').length > SEARCHES_LENGTH)
    errors.push(
      invalid(
        `${at}.searches`,
        searches,
        `must not have more than ${SEARCHES_LENGTH} characters (including spaces) in the search list`,
      ),
    );
  searches.forEach((search, index) => {
    const name = search === '.' ? search : search.replace(/\.$/, '');
    if (name === '.') return;
    const problems = name.length > 253 ? ['must be no more than 253 characters'] : [];
    if (!RELAXED_SUBDOMAIN.test(name)) problems.push(RELAXED_SUBDOMAIN_RULE);
    errors.push(...invalidFor(`${at}.searches[${index}]`, name, problems));
  });
  (dnsConfig.options ?? []).forEach((option, index) => {
    if (!option.name) errors.push(required(`${at}.options[${index}]`, 'must not be empty'));
  });
  return errors;
}

export function validateHostAliases(aliases: readonly HostAlias[] | undefined, field: string): FieldError[] {
  return (aliases ?? []).flatMap((alias, index) => [
    ...invalidFor(`${field}[${index}].ip`, alias.ip, ipProblems(alias.ip)),
    ...(alias.hostnames ?? []).flatMap((hostname, position) =>
      invalidFor(`${field}[${index}].hostnames[${position}]`, hostname, subdomainName(hostname)),
    ),
  ]);
}
