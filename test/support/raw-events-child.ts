/** A process that throws in a tick behind a netlink listener: `inside` the package's callback, or `outside` of it. */
import { RawNetlinkSocket } from 'netlink';
import { listenOutsideNative } from '../../src/linux/netlink/raw-events.ts';
import { openRtnetlink } from '../../src/linux/netlink/rtnetlink.ts';

const RTNLGRP_LINK = 1;
process.on('uncaughtException', (error) => {
  process.stdout.write(`caught: ${error.message}\n`);
  process.exit(0);
});
const raw = new RawNetlinkSocket(0);
const throwInTick = () =>
  process.nextTick(() => {
    throw new Error('in a tick');
  });
if (process.argv[2] === 'inside') raw.on('message', throwInTick);
else listenOutsideNative(raw, { message: throwInTick, failed() {} });
raw.addMembership(RTNLGRP_LINK);
const name = `raw${process.pid}`;
const netlink = openRtnetlink();
await netlink.createBridge({ name });
await netlink.deleteLink(name);
setTimeout(() => process.exit(1), 5000);
