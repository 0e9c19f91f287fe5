import { createHash } from 'node:crypto';
import type { RegistryAuth } from '../../src/docker/engine.ts';
import type { DockerConfigEntry } from './docker-config.ts';
import { matchesLocation } from './registry-match.ts';

/** An object of the API, as records of pulls name it. */
export interface Coordinates {
  uid: string;
  namespace: string;
  name: string;
}

/** Whose credentials they are; undefined: the node's, which every pod on it may use. */
export type CredentialSource = { secret: Coordinates } | { serviceAccount: Coordinates } | undefined;

/** Credentials that may open a repository. */
export interface Credential {
  auth: RegistryAuth;
  /** Of what is in them: two secrets with the same password have the same hash. */
  hash: string;
  source: CredentialSource;
}

/** Entries that came together: of one secret, one file, one plugin's answer. */
export interface ConfigEntries {
  source: CredentialSource;
  entries: readonly DockerConfigEntry[];
}

const HUB = 'index.docker.io';

/**
 * The credentials of these configurations that fit a repository (`docker.io/library/nginx`), in upstream's order: by location
 * backwards, so that longer paths come first; those of one location in the order given.
 */
export function lookUpCredentials(configurations: readonly ConfigEntries[], repository: string): Credential[] {
  const byLocation = new Map<string, Credential[]>();
  for (const { source, entries } of configurations)
    for (const entry of entries) {
      const location = locationOf(entry.location);
      const credential = { auth: authOf(entry, repository), hash: hashOf(entry), source };
      byLocation.set(location, [...(byLocation.get(location) ?? []), credential]);
    }
  const locations = [...byLocation.keys()].sort().reverse();
  const fitting = locations.filter((location) => matchesLocation(location, repository));
  if (fitting.length > 0) return fitting.flatMap((location) => byLocation.get(location)!);
  return isOfHub(repository) ? (byLocation.get(HUB) ?? []) : [];
}

/** Without scheme, and without the API versions that the Docker client writes behind hosts. */
function locationOf(written: string): string {
  const text = written.replace(/^https?:\/\//, '');
  const slash = text.indexOf('/');
  if (slash === -1) return text;
  const path = text.slice(slash).replace(/^\/v[12]\//, '/');
  return path === '/' ? text.slice(0, slash) : text.slice(0, slash) + path;
}

function isOfHub(repository: string): boolean {
  return repository.startsWith('docker.io/') || repository.startsWith(`${HUB}/`);
}

function authOf(entry: DockerConfigEntry, repository: string): RegistryAuth {
  const host = repository.split('/', 1)[0]!;
  return {
    username: entry.username,
    password: entry.password,
    // Engines with containerd's store compare it with the registry that they ask.
    serveraddress: isOfHub(repository) ? `https://${HUB}/v1/` : host,
    ...(entry.identityToken && { identitytoken: entry.identityToken }),
    ...(entry.registryToken && { registrytoken: entry.registryToken }),
  };
}

/** Upstream's: SHA-256 of the credentials as Go writes them in JSON, empty fields left out. */
function hashOf({ username, password, email, identityToken, registryToken }: DockerConfigEntry): string {
  const fields = { username, password, email, identitytoken: identityToken, registrytoken: registryToken };
  const json = JSON.stringify(Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== '')));
  return createHash('sha256').update(escapeAsGo(json)).digest('hex');
}

function escapeAsGo(json: string): string {
  return json.replace(/[<>&\u2028\u2029]/g, (found) => `\\u${found.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
