/** Backend wireguard on Debian's kernel, which has it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { bootGuest, whyNoGuest } from '../support/guest/guest.ts';
import { findGuestImage } from '../support/guest/image.ts';
import { CHECKOUT_IN_GUEST } from '../support/guest/root-files.ts';
import { makeScriptDisk } from '../support/guest/script-disk.ts';

/** The emulated processor is some twenty times slower than a real one. */
const SLOW_SECONDS = 480;
const CRASH_SECONDS = 1500;
/** A start of the killed process takes the guest seconds: every seventh step of each part. */
const STRIDE = 7;
const isFull = process.env['BERTH_TEST_FULL'] === '1';
const found = await findGuestImage({ build: isFull && !whyNoGuest() });
const missing =
  whyNoGuest() ?? ('missing' in found ? found.missing : undefined) ?? (isFull ? undefined : 'with --full only');
const titled = (what: string) => (missing ? `${what} (${missing})` : what);

(missing ? test.skip : test.serial)(
  titled('backend wireguard: every mode, repairs, 200 peers, a peer made by hand as flanneld makes it'),
  async (t) => {
    if ('missing' in found) return;
    t.timeout((SLOW_SECONDS + 120) * 1000);
    const work = mkdtempSync(join(tmpdir(), 'berth-wireguard-'));
    t.teardown(() => rmSync(work, { recursive: true, force: true }));
    const guest = await bootGuest(found, await makeScriptDisk(work, 'test/support/wireguard-child.ts'));
    t.teardown(() => guest.close());
    const { code, stdout, stderr } = await guest.try(
      `modprobe wireguard && cd ${CHECKOUT_IN_GUEST} && bin/node main.mjs`,
      SLOW_SECONDS,
    );
    t.is(code, 0, stdout + stderr);
    t.true(stdout.endsWith('all done\n'), stdout);
  },
);

(missing ? test.skip : test.serial)(
  titled('backend wireguard: killed in its start, in changes, in its removal, or when it takes the place of host-gw'),
  async (t) => {
    if ('missing' in found) return;
    t.timeout((CRASH_SECONDS + 120) * 1000);
    const work = mkdtempSync(join(tmpdir(), 'berth-wireguard-'));
    t.teardown(() => rmSync(work, { recursive: true, force: true }));
    const disk = await makeScriptDisk(work, 'test/support/wireguard-crash-child.ts', {
      'overlay-step-child': 'test/support/overlay-step-child.ts',
    });
    const guest = await bootGuest(found, disk);
    t.teardown(() => guest.close());
    const { code, stdout, stderr } = await guest.try(
      `modprobe wireguard && cd ${CHECKOUT_IN_GUEST} && bin/node main.mjs ${STRIDE}`,
      CRASH_SECONDS,
    );
    t.is(code, 0, stdout + stderr);
    t.true(stdout.endsWith('all done\n'), stdout);
    t.log(stdout);
  },
);
