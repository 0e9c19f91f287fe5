import { Socket } from 'node:dgram';
import test from 'ava';
import { probeChecksums } from '../../../../cni/overlay/vxlan/checksum-probe.ts';
import { type Clock, systemClock } from '../../../../src/runtime/clock.ts';

test.serial('an answer that waits to be read while the event loop is held up is one', async (t) => {
  // Nobody listens on traceroute's port of this machine, so the kernel answers at once; time is up in the turn in which that could be read.
  let timeIsUp = () => {};
  const clock: Clock = {
    ...systemClock,
    after(_ms, fire) {
      timeIsUp = fire;
      return () => {};
    },
  };
  const send = Socket.prototype.send;
  t.teardown(() => {
    Socket.prototype.send = send;
  });
  Socket.prototype.send = function (this: Socket, ...args: unknown[]) {
    (send as (...args: unknown[]) => void).apply(this, args);
    setTimeout(timeIsUp, 1);
    const untilMs = performance.now() + 20;
    while (performance.now() < untilMs);
  } as typeof send;
  t.is(await probeChecksums('127.0.0.1', '127.0.0.1', { clock }), 'sound');
});
