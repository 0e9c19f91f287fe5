import { readFileSync } from 'node:fs';
import test from 'ava';
import { missingOptionalPackages } from '../../../cli/maintenance/lock-file.ts';

test('optional packages of other platforms that npm left out are found, with their platform', (t) => {
  const lock = {
    packages: {
      'node_modules/tool': {
        dev: true,
        optionalDependencies: {
          '@tool/cli-linux-x64': '1.0.0',
          '@tool/cli-linux-arm64-musl': '1.0.0',
          '@tool/cli-win32-ia32-msvc': '1.0.0',
          fsevents: '~2.3.3',
        },
      },
      'node_modules/@tool/cli-linux-x64': { version: '1.0.0' },
    },
  };
  t.deepEqual(missingOptionalPackages(lock), [
    {
      path: 'node_modules/@tool/cli-linux-arm64-musl',
      entry: { version: '1.0.0', cpu: ['arm64'], libc: ['musl'], os: ['linux'], dev: true, optional: true },
    },
    {
      path: 'node_modules/@tool/cli-win32-ia32-msvc',
      entry: { version: '1.0.0', cpu: ['ia32'], os: ['win32'], dev: true, optional: true },
    },
  ]);
});

test("the project's lock file is complete: npm ci takes it", (t) => {
  t.deepEqual(missingOptionalPackages(JSON.parse(readFileSync('package-lock.json', 'utf8'))), []);
});
