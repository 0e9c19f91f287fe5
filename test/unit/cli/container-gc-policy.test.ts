import test from 'ava';
import { parseContainerGcPolicy } from '../../../cli/roots/container-gc-policy.ts';

const DEFAULTS = {
  maximumDeadContainersPerContainer: '1',
  maximumDeadContainers: '-1',
  minimumContainerTtlDuration: '0s',
};

test('the flags of ended containers', (t) => {
  t.deepEqual(parseContainerGcPolicy(DEFAULTS), { maximumPerContainer: 1, maximumTotal: -1, minimumAgeMs: 0 });
  const other = {
    maximumDeadContainersPerContainer: '2',
    maximumDeadContainers: '100',
    minimumContainerTtlDuration: '1m30s',
  };
  t.deepEqual(parseContainerGcPolicy(other), { maximumPerContainer: 2, maximumTotal: 100, minimumAgeMs: 90_000 });
});

for (const [flag, value, message] of [
  ['maximumDeadContainersPerContainer', 'many', '--maximum-dead-containers-per-container many: must be an integer'],
  ['maximumDeadContainers', '1.5', '--maximum-dead-containers 1.5: must be an integer'],
  ['minimumContainerTtlDuration', '-1s', '--minimum-container-ttl-duration -1s: must be a duration'],
  ['minimumContainerTtlDuration', 'soon', '--minimum-container-ttl-duration soon: must be a duration'],
] as const)
  test(`refused by name: ${flag} ${value}`, (t) => {
    const error = t.throws(() => parseContainerGcPolicy({ ...DEFAULTS, [flag]: value }));
    t.true(error?.message.startsWith(message), error?.message);
  });
