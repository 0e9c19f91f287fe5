import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

/** Files that break the import rule, each in its own way, and one that keeps it. */
const FIXTURES: { file: string; imports: string; forbidden: boolean }[] = [
  { file: 'agent/pods/fixture.ts', imports: '../../proxy/proxy.ts', forbidden: true },
  { file: 'proxy/state/fixture.ts', imports: '../../cni/plugins/bridge.ts', forbidden: true },
  { file: 'cni/ipam/fixture.ts', imports: '../../control-plane/store/store.ts', forbidden: true },
  { file: 'control-plane/store/fixture.ts', imports: '../../agent/agent.ts', forbidden: true },
  { file: 'src/kube/fixture.ts', imports: '../../cli/main.ts', forbidden: true },
  { file: 'agent/fixture.ts', imports: '../cli/main.ts', forbidden: true },
  { file: 'cli/fixture.ts', imports: '../agent/agent.ts', forbidden: false },
  { file: 'agent/pods/sibling.ts', imports: '../../src/runtime/clock.ts', forbidden: false },
];

/** Shows the linter's configuration files that break the rule: a rule that nobody sees fail may have stopped working. */
export function checkImportRuleBites(checkout: string): { problem?: string } {
  const folder = mkdtempSync(join(tmpdir(), 'berth-import-rule-'));
  try {
    copyFileSync(join(checkout, 'biome.json'), join(folder, 'biome.json'));
    const problems: string[] = [];
    for (const { file, imports, forbidden } of FIXTURES) {
      mkdirSync(join(folder, dirname(file)), { recursive: true });
      writeFileSync(join(folder, file), `import { thing } from '${imports}';\n\nexport const taken = thing;\n`);
      const { stdout, stderr } = spawnSync(join(checkout, 'node_modules/.bin/biome'), ['lint', file], {
        cwd: folder,
        encoding: 'utf8',
      });
      const refused = `${stdout}${stderr}`.includes('noRestrictedImports');
      if (refused !== forbidden) problems.push(`${file} importing ${imports} was ${refused ? 'refused' : 'accepted'}`);
    }
    return problems.length > 0 ? { problem: problems.join('\n') } : {};
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
