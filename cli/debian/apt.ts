import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../src/linux/exec.ts';
import { UserError } from '../output/failure.ts';

/** A download or an update may take a slow mirror's time. */
export const APT_TIMEOUT_MS = 300_000;

const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

/**
 * An apt with sources, lists and cache of its own below `work`, for one suite; the system's stays as it is.
 * `kinds` are what the suite is asked for: binary packages, source packages. Returns the command-line options.
 */
export async function createPrivateApt(
  suite: string,
  work: string,
  kinds: readonly ('deb' | 'deb-src')[] = ['deb'],
): Promise<string[]> {
  const root = join(work, 'apt');
  mkdirSync(join(root, 'lists/partial'), { recursive: true });
  mkdirSync(join(root, 'cache/archives/partial'), { recursive: true });
  const mirror = debianMirror();
  writeFileSync(
    join(root, 'sources.list'),
    kinds.map((kind) => `${kind} [signed-by=${KEYRING}] ${mirror} ${suite} main\n`).join(''),
  );
  const settings = {
    'Dir::Etc::SourceList': join(root, 'sources.list'),
    'Dir::Etc::SourceParts': '/nonexistent',
    'Dir::State::Lists': join(root, 'lists'),
    'Dir::Cache': join(root, 'cache'),
    'Acquire::Languages': 'none',
    // A mirror that lags behind is still signed, and the suite's newest is not needed: only newer than the host's.
    'Acquire::Check-Valid-Until': 'false',
    'APT::Sandbox::User': 'root',
  };
  const options = Object.entries(settings).flatMap(([key, value]) => ['-o', `${key}=${value}`]);
  await run('apt-get', [...options, '-q=2', 'update'], { timeoutMs: APT_TIMEOUT_MS });
  return options;
}

/** An apt error's text without the mirror that this host uses. */
export function withoutAddresses(text: string): string {
  return text.replace(/(https?):\/\/[^/ ]+/g, '$1://mirror');
}

/** The mirror that this host's own sources name; Berth knows none itself. */
function debianMirror(): string {
  const folder = '/etc/apt/sources.list.d';
  const files = [
    '/etc/apt/sources.list',
    ...readdirSync(folder)
      .sort()
      .map((name) => join(folder, name)),
  ];
  const candidates: string[] = [];
  for (const file of files) {
    let text: string;
    try {
      text = readFileSync(file, 'utf8');
    } catch {
      continue;
    }
    candidates.push(
      ...[...text.matchAll(/^\s*(?:URIs:|deb\s+(?:\[[^\]]*\]\s*)?)\s*(\S+)/gm)].map((match) => match[1] ?? ''),
    );
  }
  const mirror = candidates.find((uri) => /\/debian\/?$/.test(uri)) ?? candidates[0];
  if (!mirror) throw new UserError('apt has no Debian source: /etc/apt/sources.list and sources.list.d name none');
  return mirror;
}
