import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { CHECKOUT } from '../../../cli/daemon/launch.ts';
import { renderNodeUnit } from '../../../cli/daemon/node-launch.ts';
import { writeUnit } from '../../../cli/daemon/systemd.ts';

test("a joined node's unit: this checkout, these arguments, quoted as systemd wants them", (t) => {
  const text = readFileSync(join(CHECKOUT, 'systemd/berth-node.service'), 'utf8');
  const unit = renderNodeUnit(text, '/srv/berth', ['--node-name', 'a', '--root-dir', '/srv/50%/state']);
  const lines = unit.split('\n').filter((line) => line.startsWith('ExecStart'));
  t.deepEqual(lines, ['ExecStart="/srv/berth/berth" "node" "--node-name" "a" "--root-dir" "/srv/50%%/state"']);
  t.regex(unit, /^Restart=always$/m);
});

test('CIS 4.1.1: a unit is for its owner only, also where one of before was not', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'berth-unit-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'berth.service');
  writeFileSync(path, 'old', { mode: 0o644 });
  writeUnit('berth.service', 'new', folder);
  t.is(statSync(path).mode & 0o777, 0o600);
  t.is(readFileSync(path, 'utf8'), 'new');
});
