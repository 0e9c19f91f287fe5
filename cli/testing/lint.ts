import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { renderUnit } from '../daemon/systemd.ts';
import { checkImportRuleBites } from './import-rule.ts';

export interface Check {
  name: string;
  /** Undefined: passed. `skip: …` says what this host lacks. */
  run(): { problem?: string; skip?: string };
}

/** The static checks, each one a line of the lint rung. */
export function lintChecks(checkout: string): Check[] {
  const bin = (name: string) => join(checkout, 'node_modules/.bin', name);
  const tool = (name: string, argv: string[]): Check => ({
    name,
    run() {
      const [program = '', ...args] = argv;
      const { status, stdout, stderr, error } = spawnSync(program, args, {
        cwd: checkout,
        encoding: 'utf8',
        maxBuffer: 1 << 26,
      });
      const output = `${stdout ?? ''}${stderr ?? ''}${error ? String(error) : ''}`;
      return status === 0 ? {} : { problem: output.trimEnd() };
    },
  });
  return [
    tool('types (tsc)', [bin('tsc')]),
    tool('format, lint, import rule (biome)', [bin('biome'), 'check', '--error-on-warnings']),
    { name: 'the import rule bites', run: () => checkImportRuleBites(checkout) },
    tool('dead code and dependencies (knip)', [bin('knip')]),
    ...shellScripts(checkout).map((file) => tool(`shell syntax: ${file}`, ['sh', '-n', file])),
    systemdVerify(checkout),
    lockFileCheck(checkout),
  ];
}

function shellScripts(checkout: string): string[] {
  return ['berth', '.ci/run', 'cli/hosts/setup.sh', 'cli/uml/init.sh'].filter((file) =>
    existsSync(join(checkout, file)),
  );
}

function systemdVerify(checkout: string): Check {
  const folder = join(checkout, 'systemd');
  return {
    name: 'units (systemd-analyze verify)',
    run() {
      if (spawnSync('systemd-analyze', ['--version']).error) return { skip: 'systemd-analyze is not installed' };
      const work = mkdtempSync(join(tmpdir(), 'berth-units-'));
      try {
        const units = readdirSync(folder).filter((name) => /\.(service|socket)$/.test(name));
        for (const unit of units) {
          writeFileSync(join(work, unit), renderUnit(readFileSync(join(folder, unit), 'utf8'), checkout));
        }
        const paths = units.map((name) => join(work, name));
        const { status, stdout, stderr } = spawnSync('systemd-analyze', ['verify', ...paths], { encoding: 'utf8' });
        // It reports many problems without failing; what it says of our files counts.
        const said = `${stdout}${stderr}`.split('\n').filter((line) => line.includes('berth'));
        return status === 0 && said.length === 0 ? {} : { problem: `${stdout}${stderr}` };
      } finally {
        rmSync(work, { recursive: true, force: true });
      }
    },
  };
}

/** Packages come by name: a lock file that names a registry would tie everyone to one machine's mirror. */
function lockFileCheck(checkout: string): Check {
  return {
    name: 'lock file names no registry',
    run() {
      return readFileSync(join(checkout, 'package-lock.json'), 'utf8').includes('"resolved": "http')
        ? { problem: 'package-lock.json has "resolved" addresses: run npm install with the .npmrc of the checkout' }
        : {};
    },
  };
}
