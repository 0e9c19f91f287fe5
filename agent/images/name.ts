/** An image reference, taken apart and normalised as Docker does it (distribution/reference). */
export interface ImageName {
  /** Registry host with its port; `docker.io` when none is written. */
  registry: string;
  /** Path without tag and digest; `library/nginx` for the Hub's own images. */
  repository: string;
  tag: string | undefined;
  digest: string | undefined;
}

const REFERENCE = /^(?<path>[^@]+?)(?::(?<tag>[\w][\w.-]{0,127}))?(?:@(?<digest>[a-z0-9+._-]+:[0-9a-fA-F]{32,}))?$/;
const PATH = /^[a-z0-9]+(?:(?:[._]|__|[-]+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:[._]|__|[-]+)[a-z0-9]+)*)*$/;
const LABEL = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const HOST = new RegExp(`^(?:${LABEL}(?:\\.${LABEL})*|\\[[0-9a-fA-F:]+\\])(?::[0-9]+)?$`);
const DIGEST_HEX_DIGITS: Readonly<Record<string, number>> = { sha256: 64, sha384: 96, sha512: 128 };
const MOST_NAME_CHARACTERS = 255;

const INVALID = 'invalid reference format';

/** Why a text is no image name, in upstream's words; undefined when it is one. */
export function imageNameProblem(text: string): string | undefined {
  const parsed = parse(text);
  return typeof parsed === 'string' ? parsed : undefined;
}

/** undefined when the text is no image name. */
export function parseImageName(text: string): ImageName | undefined {
  const parsed = parse(text);
  return typeof parsed === 'string' ? undefined : parsed;
}

function parse(text: string): ImageName | string {
  if (/^[0-9a-f]{64}$/.test(text))
    return `invalid repository name (${text}), cannot specify 64-byte hexadecimal strings`;
  const groups = REFERENCE.exec(text)?.groups;
  if (!groups) return INVALID;
  const { path, tag, digest } = groups as { path: string; tag?: string; digest?: string };
  const slash = path.indexOf('/');
  const first = slash === -1 ? '' : path.slice(0, slash);
  // The first part is a host when it looks like one.
  const isHost = /[.:]/.test(first) || first === 'localhost' || /[A-Z]/.test(first);
  const rest = isHost ? path.slice(slash + 1) : path;
  const host = isHost && first !== 'index.docker.io' ? first : 'docker.io';
  const repository = host === 'docker.io' && !rest.includes('/') ? `library/${rest}` : rest;
  if (repository !== repository.toLowerCase()) return `${INVALID}: repository name (${repository}) must be lowercase`;
  if (!HOST.test(host) || !PATH.test(repository)) return INVALID;
  if (host.length + 1 + repository.length > MOST_NAME_CHARACTERS)
    return `repository name must not be more than ${MOST_NAME_CHARACTERS} characters`;
  const problem = digest && digestProblem(digest);
  return problem || { registry: host, repository, tag, digest };
}

function digestProblem(digest: string): string | undefined {
  const [algorithm = '', hex = ''] = digest.split(':');
  const digits = DIGEST_HEX_DIGITS[algorithm];
  if (digits === undefined) return 'unsupported digest algorithm';
  if (hex.length !== digits) return 'invalid checksum digest length';
  return /^[0-9a-f]+$/.test(hex) ? undefined : 'invalid checksum digest format';
}

/** The whole name without tag and digest, such as `docker.io/library/nginx`: what credentials are looked up for, and recorded with. */
export function repositoryOf(text: string): string {
  const name = parseImageName(text);
  return name ? `${name.registry}/${name.repository}` : text;
}

/** Whether two references mean the same image: `nginx` and `docker.io/library/nginx:latest`. A digest stands above a tag. */
export function isSameReference(a: string, b: string): boolean {
  return canonical(a) === canonical(b);
}

function canonical(text: string): string {
  const name = parseImageName(text);
  if (!name) return text;
  const { registry, repository, tag = 'latest', digest } = name;
  return `${registry}/${repository}${digest ? `@${digest}` : `:${tag}`}`;
}

/** The name with `:latest` where neither tag nor digest stands: without it the Engine would pull every tag. */
export function withDefaultTag(text: string): string {
  const name = parseImageName(text);
  return name && !name.tag && !name.digest ? `${text}:latest` : text;
}

export type PullPolicy = 'Always' | 'IfNotPresent' | 'Never';

/** Sheet §5: Always for `latest` (beside a digest, too) or nothing behind the name, else IfNotPresent. */
export function defaultPullPolicy(image: string): PullPolicy {
  const name = parseImageName(image);
  if (!name) return 'IfNotPresent';
  return (name.tag ?? (name.digest ? '' : 'latest')) === 'latest' ? 'Always' : 'IfNotPresent';
}
