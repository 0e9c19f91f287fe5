import test from 'ava';
import { parseBinDirs, parseCniMode } from '../../../cli/cni/flags.ts';
import { UserError } from '../../../cli/output/failure.ts';

test('--cni knows its modes; another is refused with those that there are', (t) => {
  t.deepEqual(['auto', 'builtin', 'directory'].map(parseCniMode), ['auto', 'builtin', 'directory']);
  t.throws(() => parseCniMode('calico'), {
    instanceOf: UserError,
    message: '--cni calico: one of auto, builtin, directory',
  });
});

test('--cni-bin-dir is a list', (t) => {
  t.deepEqual(parseBinDirs('/opt/cni/bin, /usr/lib/cni,'), ['/opt/cni/bin', '/usr/lib/cni']);
});
