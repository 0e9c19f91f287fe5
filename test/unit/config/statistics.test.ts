import test from 'ava';
import { kubeletConfiguration } from '../../../agent/config/kubelet-configuration.ts';
import { loadConfig } from '../../../src/config/load.ts';

const load = (value: unknown) =>
  loadConfig(kubeletConfiguration, { flags: [{ flag: '--x', field: 'volumeStatsAggPeriod', value }] });

for (const [value, ms] of [
  ['30s', 30_000],
  ['0s', 60_000],
  ['-1s', -1000],
] as const)
  test(`volumeStatsAggPeriod ${value}`, (t) => {
    t.is(load(value).volumeStatsAggPeriodMs, ms);
  });

test('volumeStatsAggPeriod that is no duration is refused', (t) => {
  t.throws(() => load('often'), {
    message: /"volumeStatsAggPeriod" is "often"; accepted: a duration such as "30s" or "1h30m"/,
  });
});
