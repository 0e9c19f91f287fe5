import test from 'ava';
import { createStartSlots } from '../../../../agent/containers/start-slots.ts';

test('no more than the slots at once; containers before sandboxes; a failure frees its slot', async (t) => {
  const slots = createStartSlots(2);
  const order: string[] = [];
  let running = 0;
  let most = 0;
  const call = (name: string) => async () => {
    order.push(name);
    most = Math.max(most, ++running);
    await new Promise((resolve) => setTimeout(resolve, 5));
    running--;
    if (name === 's2') throw new Error('failed');
  };
  const results = await Promise.allSettled([
    slots.run('sandbox', call('s1')),
    slots.run('sandbox', call('s2')),
    slots.run('sandbox', call('s3')),
    slots.run('sandbox', call('s4')),
    slots.run('container', call('c1')),
    slots.run('container', call('c2')),
  ]);
  t.deepEqual(order, ['s1', 's2', 'c1', 'c2', 's3', 's4']);
  t.is(most, 2);
  t.is(results.filter(({ status }) => status === 'rejected').length, 1);
});
