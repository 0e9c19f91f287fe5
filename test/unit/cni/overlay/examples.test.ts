import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { CHECKOUT } from '../../../../cli/daemon/launch.ts';
import { readBackendFields } from '../../../../cni/overlay/backend-fields.ts';
import { BACKENDS } from '../../../../cni/overlay/backends.ts';
import { parseNetConf } from '../../../../cni/overlay/net-conf.ts';
import { run } from '../../../../src/linux/exec.ts';
import { systemClock } from '../../../../src/runtime/clock.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';

const folder = join(CHECKOUT, 'examples/overlay');

for (const file of readdirSync(folder).filter((name) => name.startsWith('net-conf')))
  test(`the example ${file} is what the overlay takes, with no key that nothing reads`, async (t) => {
    const { conf, unknown } = parseNetConf(readFileSync(join(folder, file), 'utf8'), file);
    t.deepEqual(unknown, []);
    const fields = readBackendFields(conf.backend.raw, file);
    const backend = await BACKENDS.get(conf.backend.type)!.open(fields, {
      log: silentLogger,
      clock: systemClock,
      run,
    });
    t.deepEqual(fields.unread(), []);
    backend.close();
  });
