import { createHash } from 'node:crypto';
import { join } from 'node:path';
import test from 'ava';
import { PLUGIN_SOURCES } from '../../../cli/bundle/plugin-programs.ts';
import { createHash as lightHash, randomBytes } from '../../../cli/cni/light/crypto.ts';
import { CHECKOUT } from '../../../cli/daemon/launch.ts';
import { ownPlugins } from '../../../cni/programs/all.ts';
import type { PluginDependencies } from '../../../cni/programs/dependencies.ts';
import type { ProgramPlugin } from '../../../cni/wire/call.ts';
import { run } from '../../../src/linux/exec.ts';

const deps: PluginDependencies = { run, sleep: async () => {} };
type Made = ProgramPlugin | ((deps: PluginDependencies) => ProgramPlugin | ReadonlyMap<string, ProgramPlugin>);

test('every plugin of ours has a program, made from where the plugin is', async (t) => {
  t.deepEqual(Object.keys(PLUGIN_SOURCES).sort(), [...ownPlugins(deps).keys()].sort());
  for (const [type, [file, name]] of Object.entries(PLUGIN_SOURCES)) {
    const module = (await import(join(CHECKOUT, `cni/programs/${file}.ts`))) as Record<string, Made>;
    const made = module[name];
    const program = typeof made === 'function' ? made(deps) : made;
    t.is((program instanceof Map ? program.get(type) : program)?.type, type);
  }
});

test('hashes in the programs are those of node:crypto', (t) => {
  for (const algorithm of ['sha256', 'sha512'])
    for (const text of ['', 'net\0c1\0eth0', 'x'.repeat(1000), 'Grüße'])
      t.is(
        lightHash(algorithm).update(text).update('!').digest('hex'),
        createHash(algorithm).update(text).update('!').digest('hex'),
      );
  t.throws(() => lightHash('md5'), { message: /md5/ });
});

test('random bytes in the programs are random', (t) => {
  t.is(randomBytes(6).length, 6);
  t.notDeepEqual(randomBytes(16), randomBytes(16));
});
