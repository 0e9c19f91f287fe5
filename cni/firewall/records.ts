import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AttachmentKey } from '../types.ts';

/** What an attachment was given. The rules themselves do not say whose they are: they are the reference plugin's, word by word. */
export interface FirewallRecord {
  addresses: string[];
  zone: string;
  adminChain: string;
}

/**
 * A file an attachment, below /run, which is gone after a boot as the rules are: so that a DEL without the ADD's result, and GC, know what to
 * take away. Names are made of what neither network names, container ids nor interface names may have between.
 */
export function createFirewallRecords(folder = '/run/cni/firewall') {
  const fileOf = (network: string, { containerId, ifname }: AttachmentKey) =>
    join(folder, `${network}:${containerId}:${ifname}`);
  return {
    write(network: string, key: AttachmentKey, record: FirewallRecord): void {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      const file = fileOf(network, key);
      writeFileSync(`${file}.new`, JSON.stringify(record), { mode: 0o600 });
      renameSync(`${file}.new`, file);
    },
    read(network: string, key: AttachmentKey): FirewallRecord | undefined {
      try {
        return JSON.parse(readFileSync(fileOf(network, key), 'utf8'));
      } catch {
        // Attached by the reference plugin, or torn by a crash: the result of the ADD says it too.
        return undefined;
      }
    },
    remove(network: string, key: AttachmentKey): void {
      rmSync(fileOf(network, key), { force: true });
    },
    /** The attachments of a network. */
    list(network: string): AttachmentKey[] {
      try {
        const names = readdirSync(folder).map((name) => name.split(':'));
        return names.flatMap(([of, containerId, ifname]) =>
          of === network && containerId && ifname && !ifname.endsWith('.new') ? [{ containerId, ifname }] : [],
        );
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
        throw error;
      }
    },
  };
}

export type FirewallRecords = ReturnType<typeof createFirewallRecords>;
