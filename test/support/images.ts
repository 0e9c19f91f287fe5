import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** A pod's infra container: catatonit sleeping as PID 1. */
export const PAUSE_IMAGE = 'berth/pause:test';
/** Static busybox with its applets and an empty /tmp. */
export const BUSYBOX_IMAGE = 'berth/busybox:test';

const BUSYBOX = ['/bin/busybox', '/usr/bin/busybox'];
const CATATONIT = ['/usr/bin/catatonit', '/usr/libexec/catatonit'];

/** Makes the two test images in an Engine, from the host's static binaries; no registry is asked. */
export async function loadTestImages(socketPath: string): Promise<void> {
  const dir = await mkdtemp('/tmp/berth-images-');
  try {
    const pause = await archive(join(dir, 'pause'), async (root) => {
      await run('cp', [found(CATATONIT), join(root, 'pause')]);
    });
    await importImage(socketPath, pause, PAUSE_IMAGE, ['ENTRYPOINT ["/pause","-P"]']);
    await importImage(socketPath, await busyboxRoot(dir), BUSYBOX_IMAGE, BUSYBOX_CHANGES);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

const BUSYBOX_CHANGES = ['ENV PATH=/bin', 'CMD ["/bin/sh"]'];

/** Makes one more busybox image under a name of its own; another `label` gives another image. */
export async function loadBusyboxAs(socketPath: string, image: string, label: string): Promise<void> {
  const dir = await mkdtemp('/tmp/berth-images-');
  try {
    await importImage(socketPath, await busyboxRoot(dir), image, [...BUSYBOX_CHANGES, `LABEL berth.test=${label}`]);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** A root with every applet, as a tar archive. */
function busyboxRoot(dir: string): Promise<Buffer> {
  return archive(join(dir, 'busybox'), async (root) => {
    for (const path of ['bin', 'etc', 'tmp', 'root', 'proc', 'sys', 'dev', 'var']) await mkdir(join(root, path));
    await run('cp', [found(BUSYBOX), join(root, 'bin/busybox')]);
    const { stdout } = await run(found(BUSYBOX), ['--list']);
    const applets = stdout.split('\n').filter((name) => name !== '' && name !== 'busybox');
    for (const applet of applets) await symlink('busybox', join(root, 'bin', applet));
    await run(
      'sh',
      [
        '-c',
        'printf "root:x:0:0:root:/root:/bin/sh\\nnobody:x:65534:65534:nobody:/:/bin/sh\\n" > etc/passwd; printf "root:x:0:\\nnogroup:x:65534:\\n" > etc/group; chmod 1777 tmp',
      ],
      { cwd: root },
    );
  });
}

function found(candidates: string[]): string {
  const path = candidates.find(existsSync);
  if (!path) throw new Error(`none of ${candidates.join(', ')} exists (Debian: busybox-static, catatonit)`);
  return path;
}

async function archive(root: string, fill: (root: string) => Promise<void>): Promise<Buffer> {
  await mkdir(root);
  await fill(root);
  await run('tar', ['-C', root, '--owner=0', '--group=0', '-cf', `${root}.tar`, '.']);
  return readFile(`${root}.tar`);
}

/** `docker import` by the API: one layer from a tar archive. */
function importImage(socketPath: string, tar: Buffer, image: string, changes: string[]): Promise<void> {
  // The host of a registry may have a port.
  const colon = image.lastIndexOf(':');
  const [repo, tag] = [image.slice(0, colon), image.slice(colon + 1)];
  const query = new URLSearchParams({ fromSrc: '-', repo, tag });
  for (const change of changes) query.append('changes', change);
  return new Promise((resolve, reject) => {
    const call = request(
      {
        socketPath,
        method: 'POST',
        path: `/v1.41/images/create?${query}`,
        headers: { 'Content-Type': 'application/x-tar' },
      },
      (response) => {
        let body = '';
        response.on('data', (chunk) => {
          body += chunk;
        });
        response.on('end', () =>
          response.statusCode === 200 && !body.includes('"error"')
            ? resolve()
            : reject(new Error(`import ${image}: ${body}`)),
        );
      },
    );
    call.on('error', reject);
    call.end(tar);
  });
}
