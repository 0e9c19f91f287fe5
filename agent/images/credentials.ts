import type { RegistryAuth } from '../../src/docker/engine.ts';
import type { Pod } from '../../src/kube/types.ts';
import type { ConfigSources } from '../pods/ports.ts';
import { parseImageName } from './name.ts';

interface DockerConfigEntry {
  username?: string;
  password?: string;
  auth?: string;
  identitytoken?: string;
  registrytoken?: string;
}

/** The credentials of the pod's imagePullSecrets that fit the image's registry, longest match first. Missing secrets are skipped, as upstream does. */
export async function pullCredentials(
  pod: Pod,
  image: string,
  config: ConfigSources | undefined,
): Promise<RegistryAuth[]> {
  const name = parseImageName(image);
  const found: { key: string; auth: RegistryAuth }[] = [];
  if (!name || !config) return [];
  for (const reference of pod.spec.imagePullSecrets ?? []) {
    if (!reference.name) continue;
    const secret = await config.secret(pod.metadata.namespace ?? 'default', reference.name);
    for (const [key, auth] of parseSecret(secret?.data ?? {}))
      if (matches(key, `${name.registry}/${name.repository}`)) found.push({ key, auth });
  }
  return found.sort((a, b) => b.key.length - a.key.length).map(({ auth }) => auth);
}

function parseSecret(data: Record<string, string>): [string, RegistryAuth][] {
  const decode = (value: string) => JSON.parse(Buffer.from(value, 'base64').toString());
  const read = (): Record<string, DockerConfigEntry> => {
    if (data['.dockerconfigjson']) return decode(data['.dockerconfigjson']).auths ?? {};
    if (data['.dockercfg']) return decode(data['.dockercfg']);
    return {};
  };
  return Object.entries(read()).map(([host, entry]) => {
    const [user, ...rest] = Buffer.from(entry.auth ?? '', 'base64')
      .toString()
      .split(':');
    const key = host.replace(/^https?:\/\//, '').replace(/\/(v[12]\/?)?$/, '');
    const auth: RegistryAuth = {
      username: entry.username ?? user ?? '',
      password: entry.password ?? rest.join(':'),
      serveraddress: host,
      ...(entry.identitytoken && { identitytoken: entry.identitytoken }),
      ...(entry.registrytoken && { registrytoken: entry.registrytoken }),
    };
    return [key, auth];
  });
}

const escapeRegExp = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

/** A key is a host, perhaps with a path prefix; each dot-separated part may hold `*`. `index.docker.io` is docker.io. */
function matches(key: string, target: string): boolean {
  const [keyHost, ...keyPath] = key.replace(/^index\.docker\.io/, 'docker.io').split('/');
  const [host, ...path] = target.split('/');
  const keyParts = keyHost!.split('.');
  const parts = host!.split('.');
  if (keyParts.length !== parts.length) return false;
  const partMatches = (pattern: string, part: string) =>
    new RegExp(`^${pattern.split('*').map(escapeRegExp).join('.*')}$`).test(part);
  if (!keyParts.every((pattern, index) => partMatches(pattern, parts[index]!))) return false;
  return path.join('/').startsWith(keyPath.join('/'));
}
