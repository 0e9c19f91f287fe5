import { posix } from 'node:path';
import { configError } from './errors.ts';

/** Directories of processes and their open files: runc's own may be the host's (CVE-2024-21626). `/dev/fd` is a link there. */
const OF_PROCESSES = /^\/(?:proc\/[^/]+\/(?:task\/[^/]+\/)?(?:fd|fdinfo|cwd|root|map_files)|dev\/fd)(?:\/|$)/;

/** `Config.WorkingDir`; undefined leaves the image's, which is checked too. Throws ContainerStartError. */
export function checkWorkingDir(own: string | undefined, ofImage: string): string | undefined {
  const path = own || ofImage;
  if (OF_PROCESSES.test(posix.resolve('/', path)))
    throw configError(
      `working directory ${JSON.stringify(path)}${own ? '' : ' of the image'} is refused: it would open a file of another process, maybe of the host (CVE-2024-21626)`,
    );
  return own || undefined;
}
