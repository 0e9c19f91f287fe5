/** An image reference, taken apart as Docker does it. */
export interface ImageName {
  /** Registry host; `docker.io` when none is written. */
  registry: string;
  /** Path without tag and digest. */
  repository: string;
  tag: string | undefined;
  digest: string | undefined;
}

const REFERENCE = /^(?<path>[^@]+?)(?::(?<tag>[\w][\w.-]{0,127}))?(?:@(?<digest>[a-z0-9+._-]+:[0-9a-fA-F]{32,}))?$/;
const PATH = /^[a-z0-9]+(?:(?:[._]|__|[-]+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:[._]|__|[-]+)[a-z0-9]+)*)*$/;

/** undefined when the text is no image name. */
export function parseImageName(text: string): ImageName | undefined {
  const groups = REFERENCE.exec(text)?.groups;
  if (!groups) return undefined;
  const { path, tag, digest } = groups as { path: string; tag?: string; digest?: string };
  const slash = path.indexOf('/');
  const first = slash === -1 ? '' : path.slice(0, slash);
  // The first part is a host when it looks like one.
  const isHost = /[.:]/.test(first) || first === 'localhost' || /[A-Z]/.test(first);
  const repository = isHost ? path.slice(slash + 1) : path;
  if (!PATH.test(repository)) return undefined;
  return { registry: isHost ? first : 'docker.io', repository, tag, digest };
}

/** The name with `:latest` where neither tag nor digest stands: without it the Engine would pull every tag. */
export function withDefaultTag(text: string): string {
  const name = parseImageName(text);
  return name && !name.tag && !name.digest ? `${text}:latest` : text;
}

export type PullPolicy = 'Always' | 'IfNotPresent' | 'Never';

/** Sheet §5: Always for `latest` or no tag, else IfNotPresent. */
export function defaultPullPolicy(image: string): PullPolicy {
  const name = parseImageName(image);
  if (!name || name.digest) return 'IfNotPresent';
  return (name.tag ?? 'latest') === 'latest' ? 'Always' : 'IfNotPresent';
}
