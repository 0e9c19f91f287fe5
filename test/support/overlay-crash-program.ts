import { join } from 'node:path';
import { bundlePrograms, linkPackages } from './bundle-program.ts';

/** Makes the program that is killed: one file, since it is started often. @returns its command. */
export async function makeCrashChild(folder: string): Promise<string[]> {
  await bundlePrograms(folder, {
    'overlay-step-child': 'test/support/overlay-step-child.ts',
    'berth-packet-mover': 'cni/overlay/udp/packet-mover.ts',
  });
  linkPackages(folder);
  return [process.execPath, join(folder, 'overlay-step-child.mjs')];
}
