import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { readConfigurationDirectory } from '../../cni/invoke/configuration-directory.ts';
import { removeIfEmpty } from '../engine/empty-folder.ts';

/** Of host-local, unless a configuration says otherwise. */
const LEASES = '/var/lib/cni/networks';
/** What plugins keep of attachments; empty when there is none. */
const PLUGIN_STATE = ['/run/cni/firewall', '/run/cni/tuning', '/run/cni'];
/** What stays in a network's folder when its last address is given back. */
const BOOKKEEPING = /^(lock|last_reserved_ip\.\d+)$/;

/**
 * Takes away what the plugins of the host's network configuration keep beside addresses in use: a network without any loses the memory of
 * which one came last. After the pods are gone.
 */
export function removeIdleLeases(confDir: string): void {
  const { configuration } = readConfigurationDirectory(confDir);
  if (configuration) {
    for (const { raw } of configuration.plugins) {
      const ipam = raw['ipam'];
      if (typeof ipam !== 'object' || ipam === null || (ipam as { type?: unknown }).type !== 'host-local') continue;
      const { dataDir } = ipam as { dataDir?: unknown };
      removeIdleFolder(join(typeof dataDir === 'string' ? dataDir : LEASES, configuration.name));
    }
    removeIfEmpty(LEASES);
    removeIfEmpty(join(LEASES, '..'));
  }
  for (const folder of PLUGIN_STATE) removeIfEmpty(folder);
}

function removeIdleFolder(folder: string): void {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  if (names.every((name) => BOOKKEEPING.test(name))) rmSync(folder, { recursive: true, force: true });
}
