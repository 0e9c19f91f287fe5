import test from 'ava';
import { annotationKeys } from '../../../../cni/overlay/annotations.ts';
import { createNodePublisher } from '../../../../cni/overlay/node-publisher.ts';
import type { Node } from '../../../../src/kube/types.ts';
import { type Logger, silentLogger } from '../../../../src/runtime/log.ts';
import { createFakeClock } from '../../../fakes/clock.ts';
import { draftNode } from '../../../support/overlay-nodes.ts';

const keys = annotationKeys();
const MINUTE_MS = 60_000;

/** A Node object that takes each patch, and a rival that answers it as often as it is told to. */
function setUp() {
  const clock = createFakeClock();
  const warnings: string[] = [];
  const log = { ...silentLogger, warn: (_: object, message: string) => void warnings.push(message) } as Logger;
  let node = draftNode('a', { podCidrs: ['10.244.1.0/24'] });
  let rewrites = 0;
  const patches: number[] = [];
  const overwrite = () => {
    node = { ...node, metadata: { ...node.metadata, annotations: { [keys.publicIp[4]]: '192.0.2.66' } } };
    publisher.look();
  };
  const publisher = createNodePublisher(
    { nodeName: 'a', keys, setNetworkUnavailable: false },
    {
      client: {
        patch: (async (_resource: unknown, { patch }: { patch: { metadata: { annotations: object } } }) => {
          patches.push(clock.monotonicMs());
          const annotations = { ...node.metadata.annotations, ...patch.metadata.annotations };
          const written = Object.entries(annotations).filter(([, value]) => value !== null);
          node = { ...node, metadata: { ...node.metadata, annotations: Object.fromEntries(written) } } as Node;
          if (rewrites-- > 0) clock.after(10, overwrite);
        }) as never,
      },
      ownNode: () => node,
      log,
      clock,
    },
  );
  const controller = new AbortController();
  const running = publisher.run(controller.signal);
  return {
    clock,
    warnings,
    patches,
    publisher,
    overwrite,
    rival(times: number) {
      rewrites = times;
    },
    async end() {
      controller.abort();
      await running;
    },
  };
}

const SAID = { backendType: 'host-gw', publicIps: { 4: '192.0.2.1' }, data: {} };

test('one who overwrites the annotations is answered at once, one who does so again and again less and less often, and named', async (t) => {
  const { clock, patches, publisher, rival, warnings, overwrite, end } = setUp();
  publisher.say(SAID);
  await clock.advance(MINUTE_MS * 3);
  t.is(patches.length, 1);
  t.true(publisher.isDone());
  overwrite();
  await clock.advance(1000);
  t.is(patches.length, 2, 'a person’s mistake');
  await clock.advance(MINUTE_MS * 3);
  patches.length = 0;
  rival(1000);
  overwrite();
  await clock.advance(MINUTE_MS * 10);
  t.true(patches.length < 20, `${patches.length} patches in ten minutes`);
  t.is(warnings.length, 1);
  t.regex(warnings[0]!, /another host of the same name, or another overlay/);
  t.false(publisher.isDone(), 'the others do not know this node');
  rival(0);
  await clock.advance(MINUTE_MS * 3);
  t.true(publisher.isDone(), 'the last word is ours');
  await end();
});

test('what the node itself has to say anew does not wait', async (t) => {
  const { clock, patches, publisher, end } = setUp();
  publisher.say(SAID);
  await clock.advance(300);
  publisher.say({ ...SAID, publicIps: { 4: '192.0.2.2' } });
  await clock.advance(300);
  t.is(patches.length, 2);
  await end();
});
