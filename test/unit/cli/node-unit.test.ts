import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { CHECKOUT } from '../../../cli/daemon/launch.ts';
import { renderNodeUnit } from '../../../cli/daemon/node-launch.ts';

test("a joined node's unit: this checkout, these arguments, quoted as systemd wants them", (t) => {
  const text = readFileSync(join(CHECKOUT, 'systemd/berth-node.service'), 'utf8');
  const unit = renderNodeUnit(text, '/srv/berth', ['--node-name', 'a', '--root-dir', '/srv/50%/state']);
  const lines = unit.split('\n').filter((line) => line.startsWith('ExecStart'));
  t.deepEqual(lines, ['ExecStart="/srv/berth/berth" "node" "--node-name" "a" "--root-dir" "/srv/50%%/state"']);
  t.regex(unit, /^Restart=always$/m);
});
