import { mkdir, mkdtemp, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { parseEnvFile, readVolumeFile } from '../../../../agent/containers/env-file.ts';
import { buildEnvironment } from '../../../../agent/containers/environment.ts';
import { run } from '../../../../src/linux/exec.ts';
import { podOf } from '../pod.ts';

const FILE = `# how the world is reached

  ADDRESS='10.0.0.1' # inline
EMPTY=''
LITERAL='$HOME \\n "x"'
LINES='one
  two

three'
SHELL= 'not taken'
TWICE='first'
TWICE='second'
`;

for (const [key, value] of [
  ['ADDRESS', '10.0.0.1'],
  ['EMPTY', ''],
  ['LITERAL', '$HOME \\n "x"'],
  ['LINES', 'one\n  two\n\nthree'],
  ['SHELL', ''],
  ['TWICE', 'first'],
  ['NONE', undefined],
] as const)
  test(`env file: ${key}`, (t) => t.is(parseEnvFile(FILE, key), value));

for (const [text, message] of [
  ["A='1'\nB", "invalid environment variable format at line 2: missing '='"],
  ['=x', 'invalid environment variable format at line 1: empty variable name'],
  ["A ='1'", "invalid environment variable format at line 1: whitespace before '=' is not allowed"],
  ['A=1', 'invalid environment variable format at line 1: value must be enclosed in single quotes'],
  ['A="1"', 'invalid environment variable format at line 1: value must be enclosed in single quotes'],
  ["A='1'2", 'invalid environment variable format at line 1: unexpected content after closing quote'],
  ["\nA='1\n2\n", 'invalid environment variable format starting at line 2: unclosed single quote'],
] as const)
  test(`env file refused: ${JSON.stringify(text)}`, (t) => {
    t.throws(() => parseEnvFile(text, 'Z'), { message });
  });

test('env file: lines that end as on Windows; nothing behind the key is read', (t) => {
  t.is(parseEnvFile("A='1'\r\nB='x\r\ny'\r\n", 'B'), 'x\ny');
  t.is(parseEnvFile("A='1'\nnonsense", 'A'), '1');
});

test('fileKeyRef: taken from the volume, never from outside, and only from regular files', async (t) => {
  const base = await mkdtemp('/tmp/berth-unit-env-file-');
  t.teardown(() => rm(base, { recursive: true }));
  const volume = join(base, 'volume');
  await mkdir(volume);
  await writeFile(join(volume, 'app.env'), FILE);
  await writeFile(join(base, 'secret'), "KEY='host'\n");
  await symlink('../secret', join(volume, 'link'));
  await symlink('app.env', join(volume, 'inside'));
  await run('mkfifo', [join(volume, 'fifo')]);
  await writeFile(join(volume, 'huge'), '');
  await truncate(join(volume, 'huge'), 1 << 30);

  t.is(await readVolumeFile(volume, 'none'), undefined);
  await t.throwsAsync(readVolumeFile(volume, 'link'), { code: 'EXDEV' });
  await t.throwsAsync(readVolumeFile(volume, 'fifo'), { message: 'fifo is not a regular file' });
  await t.throwsAsync(readVolumeFile(volume, 'huge'), { message: /larger than/ });

  const value = async (path: string, key: string, optional = false) => {
    const container = {
      name: 'app',
      env: [{ name: 'V', valueFrom: { fileKeyRef: { volumeName: 'config', path, key, optional } } }],
    };
    const input = {
      pod: podOf({ containers: [container] }),
      container,
      addresses: { podIps: [], hostIps: [] },
      allocatable: { cpuMillis: 1, memoryBytes: 1, ephemeralStorageBytes: 1 },
    };
    const volumes = new Map([['config', { hostPath: volume }]]);
    return (await buildEnvironment(input, { volumes })).variables.get('V');
  };
  t.is(await value('app.env', 'ADDRESS'), '10.0.0.1');
  t.is(await value('inside', 'TWICE'), 'first');
  t.is(await value('app.env', 'NONE', true), undefined);
  t.is(await value('none', 'ADDRESS', true), undefined);
  await t.throwsAsync(value('app.env', 'NONE'), {
    message: `environment variable key "NONE" not found in file "${volume}/app.env"`,
  });
  for (const path of ['none', 'link', 'fifo'])
    await t.throwsAsync(value(path, 'KEY'), { message: "couldn't parse env file" });
});
