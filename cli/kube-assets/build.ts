import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { livingPid, writePidFile } from '../daemon/pid-file.ts';
import { unpackPackages } from '../debian/packages.ts';
import { unpackSource } from '../debian/source-package.ts';
import { UserError } from '../output/failure.ts';
import { createSteps } from '../output/steps.ts';
import { ASSET_PROGRAMS, PEER_PROGRAMS } from './assets.ts';
import { createCompiler } from './compile.ts';

/** The last suite whose `kubernetes` source holds the control plane; later ones carry kubectl alone. */
const SUITE = 'bookworm';
/** The Go that Debian itself built that tree with. */
const GO = '1.19';

/**
 * Fills `folder` with a real control plane, from nothing but Debian: kube-apiserver, kube-controller-manager and kube-scheduler compiled from
 * source, etcd from its package; `withPeers` kube-proxy too. About four minutes of two idle cores; a run that was broken off goes on where it was.
 */
export async function buildKubeAssets(
  folder: string,
  { signal, withPeers = false }: { signal: AbortSignal; withPeers?: boolean },
): Promise<void> {
  const wanted = withPeers ? [...ASSET_PROGRAMS, ...PEER_PROGRAMS] : ASSET_PROGRAMS;
  const missing = () => wanted.filter((program) => !existsSync(join(folder, program)));
  const steps = createSteps();
  if (missing().length === 0) return steps.say(`  all of ${wanted.join(', ')} are in ${folder}`);
  const work = `${folder}-build`;
  mkdirSync(folder, { recursive: true });
  mkdirSync(work, { recursive: true });
  claim(join(work, 'pid'));
  const packages = join(work, 'packages');
  const source = join(work, 'kubernetes');
  await once(packages, () =>
    steps.run(`Go ${GO} and etcd unpacked from Debian packages`, () =>
      unpackPackages([`golang-${GO}-go`, `golang-${GO}-src`, 'etcd-server'], packages, { suite: SUITE }),
    ),
  );
  const version = await once(source, () =>
    steps.run("Debian's source of Kubernetes unpacked", () => unpackSource('kubernetes', source, { suite: SUITE })),
  );
  const compiler = createCompiler({ goRoot: join(packages, `usr/lib/go-${GO}`), source, work, version, signal });
  await once(join(work, 'openapi'), () => steps.run('OpenAPI generated', compiler.generateOpenApi));
  for (const program of missing()) {
    const partial = join(folder, `${program}.partial`);
    if (program === 'etcd') copyFileSync(join(packages, 'usr/bin/etcd'), partial);
    else await steps.run(`${program} ${version} compiled`, () => compiler.compile(program, partial));
    renameSync(partial, join(folder, program));
  }
  rmSync(work, { recursive: true, force: true });
}

/** One build at a time: two would write the same files. */
function claim(pidFile: string): void {
  const other = livingPid(pidFile, 'kube-assets');
  if (other !== undefined)
    throw new UserError(`kube-assets: process ${other} is building in ${dirname(pidFile)} already; wait for it`);
  writePidFile(pidFile, process.pid);
}

/** Does the work unless `<path>.done` tells that it was done before; what a broken run left at `path` goes first. Returns the work's word. */
async function once(path: string, work: () => Promise<unknown>): Promise<string> {
  const stamp = `${path}.done`;
  if (!existsSync(stamp)) {
    rmSync(path, { recursive: true, force: true });
    writeFileSync(stamp, String((await work()) ?? ''));
  }
  return readFileSync(stamp, 'utf8');
}
