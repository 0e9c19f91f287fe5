import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import test from 'ava';

test('an exception in a tick behind a listener has a stack, and does not end the process as a native one', (t) => {
  const child = (how: string) =>
    spawnSync(process.execPath, [join(import.meta.dirname, '../../support/raw-events-child.ts'), how], {
      encoding: 'utf8',
    });
  // Proves that the package needs it: without, nobody learns where the exception came from.
  t.regex(child('inside').stderr, /terminate called after throwing an instance of 'Napi::Error'/);
  const outside = child('outside');
  t.is(outside.status, 0, outside.stderr);
  t.is(outside.stdout, 'caught: in a tick\n');
});

test('a monitor whose buffer runs over lives on, and says that it has missed something', (t) => {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(import.meta.dirname, '../../support/netlink-flood-child.ts')],
    { encoding: 'utf8' },
  );
  t.is(status, 0, stderr);
  t.is(stdout, 'lost\n');
});
