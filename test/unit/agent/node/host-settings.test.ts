import test from 'ava';
import { describeKernelDefaults, findKernelDefaults } from '../../../../agent/node/kernel-defaults.ts';
import { openFilesLimit, setOpenFilesLimit } from '../../../../src/linux/open-files-limit.ts';

const right: Record<string, string> = {
  'vm.overcommit_memory': '1',
  'vm.panic_on_oom': '0',
  'kernel.panic': '10',
  'kernel.panic_on_oops': '1',
  'kernel.keys.root_maxkeys': '1000000',
  'kernel.keys.root_maxbytes': '25000000',
};

test('settings of the kernel that differ, those it does not have apart', (t) => {
  t.deepEqual(
    findKernelDefaults((name) => right[name]),
    [],
  );
  t.deepEqual(
    findKernelDefaults(() => undefined),
    [],
  );
  const found = findKernelDefaults((name) => ({ ...right, 'vm.overcommit_memory': '0', 'kernel.panic': '0' })[name]);
  t.is(
    describeKernelDefaults(found),
    'vm.overcommit_memory is 0, expected 1; kernel.panic is 0, expected 10 (sysctl -w vm.overcommit_memory=1 kernel.panic=10)',
  );
});

test('open files: as many as wanted, and never more than may be', (t) => {
  const { soft, hard } = openFilesLimit();
  t.true(soft > 0 && hard >= soft);
  try {
    t.deepEqual(setOpenFilesLimit(500), { soft: 500, hard });
    const most = setOpenFilesLimit(1_000_000);
    t.true(most.soft === 1_000_000 || (hard < 1_000_000 && most.soft === hard));
  } finally {
    setOpenFilesLimit(soft);
  }
});
