import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AttachmentKey } from '../../types.ts';
import { makeDirectory } from '../make-directory.ts';
import type { ClientOptions } from './options.ts';

/** Which attachment of which network a lease is for. */
export interface LeaseKey extends AttachmentKey {
  network: string;
}

/** All that a keeper needs to go on with a lease that another process before it got. */
export interface LeaseRecord {
  key: LeaseKey;
  netns: string;
  /** The namespace's identity: a path may lead to another one by now. */
  netnsId: string;
  options: ClientOptions;
  broadcast: boolean;
  /** The server's acknowledgement, as it came. */
  ack: Uint8Array;
  /** Wall time when it was asked for: the only clock that two processes share. */
  sinceMs: number;
}

/**
 * Leases on disk, one file each, for a keeper that is restarted. They belong below /run: when the machine boots, the namespaces are gone
 * and the leases with them.
 */
export interface LeaseFiles {
  /** What can't be read is left out and told to `onBroken`. */
  list(onBroken: (path: string, error: unknown) => void): LeaseRecord[];
  write(record: LeaseRecord): void;
  /** One that is gone is fine. */
  remove(key: LeaseKey): void;
}

export const clientIdOf = ({ containerId, network, ifname }: LeaseKey) =>
  // The reference plugin's, cut to what an option holds beside its type byte.
  `${containerId}/${network}/${ifname}`.slice(0, 254);

export function createLeaseFiles(directory: string): LeaseFiles {
  // Ids and names together may be longer than a file's name.
  const pathOf = (key: LeaseKey) =>
    join(
      directory,
      `${createHash('sha256')
        .update(JSON.stringify([key.network, key.containerId, key.ifname]))
        .digest('hex')
        .slice(0, 32)}.json`,
    );
  return {
    list(onBroken) {
      const records: LeaseRecord[] = [];
      for (const name of namesIn(directory)) {
        const path = join(directory, name);
        try {
          records.push(parseRecord(readFileSync(path, 'utf8')));
        } catch (error) {
          onBroken(path, error);
        }
      }
      return records;
    },
    write(record) {
      makeDirectory(directory, 0o700);
      const path = pathOf(record.key);
      writeFileSync(`${path}.new`, renderRecord(record), { mode: 0o600 });
      renameSync(`${path}.new`, path);
    },
    remove: (key) => rmSync(pathOf(key), { force: true }),
  };
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory).filter((name) => name.endsWith('.json'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

const toBase64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
const fromBase64 = (text: string) => Uint8Array.from(Buffer.from(text, 'base64'));

function renderRecord({ options, ack, ...record }: LeaseRecord): string {
  const provide = options.provide.map(([code, value]) => [code, toBase64(value)]);
  return `${JSON.stringify({ ...record, options: { request: options.request, provide }, ack: toBase64(ack) })}\n`;
}

function parseRecord(text: string): LeaseRecord {
  const { options, ack, ...record } = JSON.parse(text) as Omit<LeaseRecord, 'ack' | 'options'> & {
    ack: string;
    options: { request: number[]; provide: [number, string][] };
  };
  if (!record.key?.containerId || !record.netns || typeof record.sinceMs !== 'number')
    throw new Error('it is no lease');
  const provide = options.provide.map(([code, value]) => [code, fromBase64(value)] as const);
  return { ...record, options: { request: options.request, provide }, ack: fromBase64(ack) };
}
