const LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const LABEL_1035 = /^[a-z]([-a-z0-9]*[a-z0-9])?$/;
const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

const LABEL_RULE =
  "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_RULE =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1035_RULE =
  "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";

/** A generateName may end in a dash: it is judged as if a letter followed. */
const masked = (name: string, prefix: boolean) =>
  prefix && name.length > 1 && name.endsWith('-') ? `${name.slice(0, -1)}a` : name;

function check(name: string, limit: number, pattern: RegExp, rule: string): string[] {
  const problems: string[] = [];
  if (name.length > limit) problems.push(`must be no more than ${limit} characters`);
  if (!pattern.test(name)) problems.push(rule);
  return problems;
}

/** Most kinds: DNS-1123 subdomain, at most 253 characters. */
export const subdomainName = (name: string, prefix = false) =>
  check(masked(name, prefix), 253, SUBDOMAIN, SUBDOMAIN_RULE);

/** Namespaces: DNS-1123 label, at most 63 characters. */
export const labelName = (name: string, prefix = false) => {
  const judged = masked(name, prefix);
  return check(judged, 63, LABEL, SUBDOMAIN.test(judged) ? 'must not contain dots' : LABEL_RULE);
};

/** Services: DNS-1035 label, at most 63 characters. */
export const serviceName = (name: string, prefix = false) =>
  check(masked(name, prefix), 63, LABEL_1035, LABEL_1035_RULE);

/** RBAC kinds: anything that can be one segment of a path. */
export function pathSegmentName(name: string, prefix = false): string[] {
  if (!prefix && (name === '.' || name === '..')) return [`may not be '${name}'`];
  return ['/', '%']
    .filter((character) => name.includes(character))
    .map((character) => `may not contain '${character}'`);
}
