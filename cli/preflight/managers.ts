import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { CPU_STATE_FILE } from '../../agent/resources/cpu-manager/cpu-state.ts';
import { MEMORY_STATE_FILE } from '../../agent/resources/memory-manager/memory-state.ts';
import { pathsOf, type Settings } from '../settings.ts';

/** Whether this machine can be such a node, and CPUs and memory can be managed as the kubelet's configuration says, with the checkpoints that are there. */
export async function checkManagers(settings: Settings): Promise<void> {
  const rootDir = pathsOf(settings).kubelet;
  const { kubeletConfig, kubeletConfigDir } = settings;
  const hasCheckpoint = [CPU_STATE_FILE, MEMORY_STATE_FILE].some((name) => existsSync(join(rootDir, name)));
  if (kubeletConfig === undefined && kubeletConfigDir === undefined && !hasCheckpoint) return;
  // Only for those who have either: a plain `up` shall not wait for it.
  const { kubeletConfiguration } = await import('../../agent/config/kubelet-configuration.ts');
  const { loadConfig } = await import('../../src/config/load.ts');
  const { checkResourceManagers } = await import('../roots/resource-managers.ts');
  const config = loadConfig(kubeletConfiguration, { file: kubeletConfig, dropInDir: kubeletConfigDir });
  const { checkMachine } = await import('../roots/node-checks.ts');
  await checkMachine({ config, rootDir, failSwapOnUnsaid: false });
  await checkResourceManagers({ config, rootDir });
}
