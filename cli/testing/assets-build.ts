import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { findKubeAssets } from '../kube-assets/assets.ts';

/**
 * Starts `berth kube-assets` beside the early rungs, at low priority, unless its programs are there. Resolves when it has ended: the stories that
 * need the programs say themselves that they are missing.
 */
export async function startAssetsBuild(checkout: string, print: (line: string) => void): Promise<void> {
  if (process.env['BERTH_KUBE_ASSETS'] || 'folder' in findKubeAssets(process.env)) return;
  const build = spawn('nice', ['-n', '19', join(checkout, 'berth'), 'kube-assets'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let errors = '';
  build.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    errors = `${errors}${chunk}`.slice(-2000);
  });
  const problem = await once(build, 'close').then(
    ([code]) => (code === 0 ? undefined : `exit code ${code}: ${errors.trim()}`),
    (error: Error) => error.message,
  );
  if (problem) print(`berth kube-assets: ${problem}`);
}
