import { existsSync, lstatSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { createLogLinks } from '../../../../agent/containers/log-links.ts';
import { podOf } from '../pod.ts';

function setUp(t: ExecutionContext) {
  const base = mkdtempSync('/tmp/berth-unit-links-');
  t.teardown(() => rmSync(base, { recursive: true, force: true }));
  const directories = {
    pods: join(base, 'pods'),
    containers: join(base, 'containers'),
    dockerRoot: join(base, 'docker'),
  };
  const isLink = (path: string) => Boolean(lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink());
  return {
    links: createLogLinks(directories),
    /** As the Engine makes it: the directory with the container, the log with its start. */
    engine(id: string, hasStarted = true) {
      const directory = join(directories.dockerRoot, 'containers', id);
      mkdirSync(directory, { recursive: true });
      if (hasStarted) writeFileSync(join(directory, `${id}-json.log`), '');
      return directory;
    },
    hasAttempt: (attempt: number) => isLink(join(directories.pods, `default_web_uid-1/app/${attempt}.log`)),
    hasFlat: (id: string) => isLink(join(directories.containers, `web_default_app-${id}.log`)),
    directories,
  };
}

test('links of containers that are gone are removed, those of the others stay', async (t) => {
  const host = setUp(t);
  const pod = podOf();
  for (const [attempt, id] of ['first', 'second'].entries()) {
    host.engine(id);
    await host.links.ensure(pod, 'app', attempt, id);
  }
  rmSync(join(host.directories.dockerRoot, 'containers/first'), { recursive: true });
  await host.links.collect(new Set(['uid-1']));
  t.deepEqual([0, 1].map(host.hasAttempt), [false, true]);
  t.deepEqual(['first', 'second'].map(host.hasFlat), [false, true]);
});

test('a container that is being started keeps its links, though its log is not there yet', async (t) => {
  const host = setUp(t);
  host.engine('new', false);
  await host.links.ensure(podOf(), 'app', 0, 'new');
  await host.links.collect(new Set(['uid-1']));
  t.true(host.hasAttempt(0));
  t.true(host.hasFlat('new'));
});

test('directories of pods that are gone go with everything in them; what others keep there stays', async (t) => {
  const host = setUp(t);
  host.engine('new');
  await host.links.ensure(podOf(), 'app', 0, 'new');
  const { pods, containers } = host.directories;
  mkdirSync(join(pods, 'lost+found'));
  symlinkSync('/nowhere/of-somebody-else.log', join(containers, 'theirs.log'));
  await host.links.collect(new Set());
  t.false(existsSync(join(pods, 'default_web_uid-1')));
  t.false(host.hasFlat('new'));
  t.true(existsSync(join(pods, 'lost+found')));
  t.true(lstatSync(join(containers, 'theirs.log')).isSymbolicLink());
});
