import { UserError } from '../output/failure.ts';
import { DEFAULT_ROOT_DIR, readSettings, type Settings } from '../settings.ts';

/** The cluster that `up` set up in this root directory. */
export function knownCluster(rootDir: string): Settings {
  const settings = readSettings(rootDir);
  if (settings) return settings;
  const elsewhere = rootDir === DEFAULT_ROOT_DIR ? ', or name the other root directory with --root-dir' : '';
  throw new UserError(`there is no cluster in ${rootDir}: 'berth up' makes one${elsewhere}`);
}
