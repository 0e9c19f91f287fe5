import test from 'ava';
import { parseNodeLabels } from '../../../../agent/node/node-labels.ts';
import { createReportSchedule } from '../../../../agent/node/report-schedule.ts';
import { createNodeStartup } from '../../../../agent/node/startup-metrics.ts';
import { Registry } from '../../../../src/runtime/metrics.ts';
import { createFakeClock } from '../../../fakes/clock.ts';

test('labels of a node', (t) => {
  t.deepEqual(parseNodeLabels(''), {});
  t.deepEqual(parseNodeLabels('disk=ssd,example.com/rack=r1,node.kubernetes.io/x=,a.kubelet.kubernetes.io/y=1'), {
    disk: 'ssd',
    'example.com/rack': 'r1',
    'node.kubernetes.io/x': '',
    'a.kubelet.kubernetes.io/y': '1',
  });
  t.deepEqual(parseNodeLabels('topology.kubernetes.io/zone=z1'), { 'topology.kubernetes.io/zone': 'z1' });
});

for (const [text, accepted] of [
  ['disk', 'key=value'],
  ['=x', 'a key such as'],
  ['a b=x', 'a key such as'],
  ['disk=very fast', 'a value of at most 63'],
  [`disk=${'x'.repeat(64)}`, 'a value of at most 63'],
  ['node-role.kubernetes.io/control-plane=', 'in the domains kubernetes.io and k8s.io only kubernetes.io/hostname'],
  ['x.k8s.io/y=1', 'in the domains kubernetes.io'],
  ['kubernetes.io/y=1', 'in the domains kubernetes.io'],
] as const)
  test(`refused: ${text.slice(0, 50)}`, (t) => {
    const { message } = t.throws(() => parseNodeLabels(`ok=1,${text}`))!;
    t.true(message.startsWith(`--node-labels: ${JSON.stringify(text)}; accepted: ${accepted}`), message);
  });

test('reports: after a start and a change up to half an interval earlier or later, then regularly', (t) => {
  const draws = [0, 0.999_999, 0.5];
  const schedule = createReportSchedule(300_000, () => draws.shift()!);
  t.true(schedule.isDue(0));
  schedule.sent(0, false);
  t.false(schedule.isDue(149_999));
  t.true(schedule.isDue(150_000), 'the first one half an interval early');
  schedule.sent(150_000, false);
  t.false(schedule.isDue(449_999));
  t.true(schedule.isDue(450_000));
  schedule.sent(450_000, true);
  t.false(schedule.isDue(899_000));
  t.true(schedule.isDue(900_000), 'after a change half an interval late');
});

test("a new node's start in parts; an agent that came back measures nothing", async (t) => {
  const clock = createFakeClock();
  const registry = new Registry();
  const startup = createNodeStartup(12.5, registry, clock);
  await clock.advance(1000);
  startup.attempted();
  await clock.advance(2000);
  startup.attempted();
  startup.registered();
  await clock.advance(3000);
  startup.ready();
  await clock.advance(9000);
  startup.ready();
  const text = await registry.metrics();
  for (const [name, value] of Object.entries({
    pre_kubelet_duration: 12.5,
    pre_registration_duration: 1,
    registration_duration: 2,
    post_registration_duration: 3,
    duration: 18.5,
  }))
    t.true(text.includes(`\nkubelet_node_startup_${name}_seconds ${value}\n`), name);
  const again = new Registry();
  const back = createNodeStartup(1, again, clock);
  back.attempted();
  back.ready();
  t.true((await again.metrics()).includes('\nkubelet_node_startup_duration_seconds 0\n'));
});
