import test from 'ava';
import { renderUnit } from '../../../cli/daemon/systemd.ts';
import { renderTable } from '../../../cli/output/table.ts';

test('tables are aligned and have no trailing blanks', (t) => {
  t.is(
    renderTable(
      ['NAME', 'STATE'],
      [
        ['a-long-name', 'ok'],
        ['b', ''],
      ],
    ),
    'NAME          STATE\na-long-name   ok\nb',
  );
});

test('a unit gets the launcher of its checkout and the root directory of its cluster', (t) => {
  const unit = 'ExecStart=/opt/berth/berth run --root-dir /var/lib/berth\n';
  t.is(renderUnit(unit, '/srv/berth', '/srv/state'), 'ExecStart=/srv/berth/berth run --root-dir /srv/state\n');
  t.is(renderUnit(unit, '/srv/berth'), 'ExecStart=/srv/berth/berth run --root-dir /var/lib/berth\n');
});
