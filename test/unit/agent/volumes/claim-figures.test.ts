import test from 'ava';
import { createClaimFigures, type MountedClaim } from '../../../../agent/volumes/persistent/volume-stats.ts';
import { createFakeClock, settle } from '../../../fakes/clock.ts';

test('R4: a claim whose driver never answers is asked once, and holds up neither the others nor who wants to know', async (t) => {
  const clock = createFakeClock();
  const asked: string[] = [];
  const claim = (name: string, ask: () => Promise<{ usedBytes: number } | undefined>): MountedClaim => ({
    ...{ namespace: 'default', claim: name, path: '/none' },
    ask: () => {
      asked.push(name);
      return ask();
    },
  });
  let used = 1;
  let mounted = [
    claim('hangs', () => new Promise(() => {})),
    claim('fails', () => Promise.reject(new Error('away'))),
    claim('works', async () => ({ usedBytes: used++ })),
  ];
  const figures = createClaimFigures({ claims: () => mounted, clock });
  t.is(figures.of('default', 'works'), undefined, 'nobody waits for the first look');
  await settle();
  t.is(figures.of('default', 'works')?.usedBytes, 1);
  const all = figures.all();
  await clock.advance(1000);
  t.deepEqual(
    (await all).map(({ claim: one, stats }) => [one.claim, stats.usedBytes]),
    [['works', 1]],
  );
  for (let round = 0; round < 3; round++) {
    await clock.advance(60_000);
    figures.of('default', 'works');
    await settle();
  }
  t.is(figures.of('default', 'works')?.usedBytes, 4);
  t.is(figures.of('default', 'fails'), undefined);
  t.is(asked.filter((name) => name === 'hangs').length, 1);
  mounted = [];
  await clock.advance(60_000);
  figures.of('default', 'works');
  t.is(figures.of('default', 'works'), undefined, 'a claim that is mounted no longer');
});
