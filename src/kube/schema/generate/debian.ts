import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../../linux/exec.ts';

/** Debian packages that hold the API sources, and nothing else that the generator reads. */
const packages = [
  'golang-k8s-api-dev',
  'golang-k8s-apimachinery-dev',
  'golang-k8s-apiextensions-apiserver-dev',
  'golang-k8s-metrics-dev',
];

const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';
const aptTimeoutMs = 300_000;

/**
 * Fetches the source packages of Debian sid into `folder` and unpacks them there. apt gets a configuration, lists and cache
 * of its own below `folder`: the system's sources stay as they are and nothing is installed. The mirror is the system's.
 *
 * @returns the `k8s.io` folder of the Go sources, and each package's version.
 */
export async function fetchSources(folder: string): Promise<{ sourceRoot: string; versions: Record<string, string> }> {
  const apt = join(folder, 'apt');
  const root = join(folder, 'root');
  const archives = join(folder, 'debs');
  for (const path of [join(apt, 'lists/partial'), join(apt, 'cache/archives/partial'), root, archives])
    mkdirSync(path, { recursive: true });
  writeFileSync(join(apt, 'sources.list'), `deb [signed-by=${keyring}] ${findMirror()} sid main\n`);
  copyFileSync('/var/lib/dpkg/status', join(apt, 'status'));
  const settings = {
    'Dir::Etc::SourceList': join(apt, 'sources.list'),
    'Dir::Etc::SourceParts': '/dev/null',
    'Dir::Etc::PreferencesParts': '/dev/null',
    'Dir::Etc::Preferences': '/dev/null',
    'Dir::State::Lists': join(apt, 'lists'),
    'Dir::State::status': join(apt, 'status'),
    'Dir::Cache': join(apt, 'cache'),
    'APT::Sandbox::User': 'root',
    'Acquire::Languages': 'none',
  };
  const options = Object.entries(settings).flatMap(([key, value]) => ['-o', `${key}=${value}`]);
  await run('apt-get', [...options, '-q', 'update'], { timeoutMs: aptTimeoutMs });
  await run('apt-get', [...options, '-q', 'download', ...packages], { timeoutMs: aptTimeoutMs, cwd: archives });
  const versions: Record<string, string> = {};
  for (const archive of readdirSync(archives)
    .filter((name) => name.endsWith('.deb'))
    .sort()) {
    const [name, version] = archive.split('_') as [string, string];
    versions[name] = decodeURIComponent(version);
    await run('dpkg-deb', ['-x', join(archives, archive), root], { timeoutMs: aptTimeoutMs });
  }
  return { sourceRoot: join(root, 'usr/share/gocode/src/k8s.io'), versions };
}

/** The first Debian mirror of the system's own sources. */
function findMirror(): string {
  for (const [file, pattern] of [
    ['/etc/apt/sources.list.d/debian.sources', /^URIs:\s*(\S+)/m],
    ['/etc/apt/sources.list', /^deb\s+(?:\[[^\]]*\]\s+)?(https?:\S+)/m],
  ] as const) {
    try {
      const mirror = pattern.exec(readFileSync(file, 'utf8'))?.[1];
      if (mirror) return mirror;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
  throw new Error(
    'no Debian mirror in /etc/apt/sources.list.d/debian.sources or /etc/apt/sources.list: run the generator on a Debian system',
  );
}
