import { readFile, realpath, stat } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import type { Container, Pod } from '../../src/kube/types.ts';
import { ContainerStartError, configError } from './errors.ts';

/** No profile comes near; a larger file is none. */
const MAX_PROFILE_BYTES = 1 << 20;

/** What a container's system calls are filtered by. */
export type SeccompChoice =
  | { type: 'RuntimeDefault' }
  | { type: 'Unconfined' }
  /** A file below `<root>/seccomp`. */
  | { type: 'Localhost'; profile: string };

/**
 * The container's own profile, else the pod's, else the node's default. Throws ContainerStartError.
 * @param seccompDefault `seccompDefault` of the configuration: RuntimeDefault instead of Unconfined where nothing is said
 */
export function chooseSeccomp(pod: Pod, container: Container, seccompDefault: boolean): SeccompChoice {
  const asked = container.securityContext?.seccompProfile ?? pod.spec.securityContext?.seccompProfile;
  const type = asked?.type ?? (seccompDefault ? 'RuntimeDefault' : 'Unconfined');
  switch (type) {
    case 'RuntimeDefault':
    case 'Unconfined':
      return { type };
    case 'Localhost':
      // CVE-2023-2431: with an empty name upstream once ran the container unconfined.
      if (!asked?.localhostProfile)
        throw configError('localhostProfile must be set if seccompProfile type is Localhost.');
      return { type, profile: asked.localhostProfile };
    default:
      throw configError(`seccompProfile.type ${JSON.stringify(type)}: must be RuntimeDefault, Unconfined or Localhost`);
  }
}

/**
 * Reads a profile of this node, the JSON text that the Engine takes. Whatever is wrong with it throws a
 * ContainerStartError: no container runs with less confinement than it asked for.
 * @param directory `<root>/seccomp`; neither `..` nor a link may lead out of it
 */
export async function readSeccompProfile(directory: string, profile: string): Promise<string> {
  const path = join(directory, profile);
  const refuse = (why: string, cause?: unknown) =>
    new ContainerStartError('CreateContainerError', `cannot load seccomp profile "${path}": ${why}`, { cause });
  if (isAbsolute(profile) || profile.split('/').includes('..'))
    throw refuse(`localhostProfile must be a path below ${directory}, without ".."`);
  let text: string;
  try {
    const target = await realpath(path);
    if (!target.startsWith(`${await realpath(directory)}/`)) throw refuse(`it is a link out of ${directory}`);
    const found = await stat(target);
    if (!found.isFile()) throw refuse('not a regular file');
    if (found.size > MAX_PROFILE_BYTES) throw refuse(`larger than ${MAX_PROFILE_BYTES} bytes`);
    text = await readFile(target, 'utf8');
  } catch (error) {
    if (error instanceof ContainerStartError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    throw refuse(code === 'ENOENT' ? 'no such file or directory' : String(error), error);
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw refuse(text.trim() === '' ? 'the file is empty' : `not JSON: ${(error as Error).message}`, error);
  }
  // What the Engine would take for a profile that filters nothing.
  if (typeof (parsed as { defaultAction?: unknown } | null)?.defaultAction !== 'string')
    throw refuse('not a seccomp profile: it has no defaultAction');
  return text;
}
