import { badRequest } from '../status-error.ts';

/** Whom `pods/…/proxy` and `services/…/proxy` mean. */
export interface ProxyTarget {
  scheme: 'http' | 'https';
  name: string;
  /** A number or a name; '' when none is said. */
  port: string;
}

/** `NAME`, `NAME:PORT` or `SCHEME:NAME:PORT` (upstream's SplitSchemeNamePort). Throws a StatusError that names the `kind`. */
export function parseTargetName(kind: 'pod' | 'service', id: string): ProxyTarget {
  const parts = id.split(':');
  const [scheme, name, port] = parts.length === 3 ? parts : ['', ...parts];
  const isKnown = scheme === '' || scheme === 'http' || scheme === 'https';
  if (parts.length > 3 || !isKnown || !name) throw badRequest(`invalid ${kind} request ${JSON.stringify(id)}`);
  return { scheme: scheme || 'http', name, port: port ?? '' } as ProxyTarget;
}

/** The object whose proxy it is: its name stands between scheme and port. */
export const objectNameOf = (kind: 'pod' | 'service') => (id: string) => parseTargetName(kind, id).name;
