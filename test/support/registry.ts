import { type ChildProcess, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { CHECKOUT } from '../../cli/daemon/launch.ts';
import { dockerRegistry, fetchDebianProgram } from '../../cli/testing/debian-program.ts';
import type { RegistryAuth } from '../../src/docker/engine.ts';
import { encodeAuth } from '../../src/docker/images.ts';
import { loadBusyboxAs } from './images.ts';

/** Debian's registry where it is already, or can be had; `skip` says why not. */
export async function registryOrWhyNot(): Promise<{ program: string } | { skip: string }> {
  try {
    return { program: await fetchDebianProgram(CHECKOUT, dockerRegistry) };
  } catch (error) {
    return { skip: `no docker-registry (${(error as Error).message.split('\n')[0]})` };
  }
}

export interface RegistryOptions {
  /** A folder as this process sees it, and as the registry will. */
  folder: string;
  folderInside?: string;
  /** `127.0.0.1:5000`; the Engine takes plain HTTP from loopback addresses. */
  address: string;
  /** Password of each user; without users everybody may push and pull. */
  users?: Record<string, string>;
  tls?: { certPem: string; keyPem: string };
}

/** Writes the registry's files and returns its command line. What was pushed there stays there over restarts. */
export function writeRegistryFiles(program: string, options: RegistryOptions): string[] {
  const { folder, folderInside = folder } = options;
  mkdirSync(join(folder, 'data'), { recursive: true });
  const write = (name: string, text: string) => {
    writeFileSync(join(folder, name), text, { mode: 0o600 });
    return join(folderInside, name);
  };
  const config = {
    version: 0.1,
    log: { level: 'warn' },
    storage: { filesystem: { rootdirectory: join(folderInside, 'data') }, delete: { enabled: true } },
    http: {
      addr: options.address,
      ...(options.tls && {
        tls: { certificate: write('tls.crt', options.tls.certPem), key: write('tls.key', options.tls.keyPem) },
      }),
    },
    ...(options.users && {
      auth: { htpasswd: { realm: 'berth tests', path: write('htpasswd', htpasswd(options.users)) } },
    }),
  };
  return [program, 'serve', write('config.yml', JSON.stringify(config))];
}

/** The registry reads only bcrypt; the C library's crypt, which Perl passes on, makes it. The file is read again when it changed. */
export function htpasswd(users: Record<string, string>): string {
  return Object.entries(users)
    .map(([user, password]) => {
      const salt = `$2y$05$${randomBytes(32)
        .toString('base64')
        .replace(/[^A-Za-z]/g, 'a')
        .slice(0, 21)}u`;
      const { stdout, status } = spawnSync('perl', ['-e', 'print crypt($ARGV[0], $ARGV[1])', password, salt], {
        encoding: 'utf8',
      });
      if (status !== 0 || !stdout.startsWith('$2y$')) throw new Error('perl cannot make a bcrypt hash here');
      return `${user}:${stdout}\n`;
    })
    .join('');
}

/** Ends a registry that was spawned. */
export async function stopRegistry(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
}

/**
 * Pushes a busybox of its own (by `label`) as `reference` through an Engine, which then forgets it.
 * @returns the digest that the registry knows it by: `sha256:…`
 */
export async function pushTestImage(
  socketPath: string,
  reference: string,
  options: { label: string; auth?: RegistryAuth },
): Promise<string> {
  await loadBusyboxAs(socketPath, reference, options.label);
  const colon = reference.lastIndexOf(':');
  const [name, tag] = [reference.slice(0, colon), reference.slice(colon + 1)];
  const auth = encodeAuth(options.auth ?? {});
  const answer = await engineCall(socketPath, 'POST', `/images/${name}/push?tag=${tag}`, { 'X-Registry-Auth': auth });
  const digest = /"Digest":"(sha256:[0-9a-f]{64})"/.exec(answer)?.[1];
  if (!digest) throw new Error(`push of ${reference} told no digest: ${answer}`);
  await forgetImage(socketPath, reference);
  return digest;
}

/** Removes an image and its layers from an Engine, so that the next use pulls it. */
export async function forgetImage(socketPath: string, reference: string): Promise<void> {
  await engineCall(socketPath, 'DELETE', `/images/${reference}?force=true`, {});
}

function engineCall(socketPath: string, method: string, path: string, headers: Record<string, string>) {
  return new Promise<string>((resolve, reject) => {
    const call = request({ socketPath, method, path: `/v1.41${path}`, headers }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (chunk) => {
        body += chunk;
      });
      response.on('end', () =>
        (response.statusCode ?? 500) < 300 && !body.includes('"error"')
          ? resolve(body)
          : reject(new Error(`${method} ${path}: ${response.statusCode} ${body}`)),
      );
    });
    call.on('error', reject);
    call.end();
  });
}
