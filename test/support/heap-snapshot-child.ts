/** Writes heap snapshots below a directory when told by SIGUSR2; its log tells of each: `node heap-snapshot-child.ts <directory>`. */
import { writeHeapSnapshotsOnSignal } from '../../cli/daemon/heap-snapshots.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { createLogger } from '../../src/runtime/log.ts';

const log = createLogger({ level: 'info', pretty: false });
writeHeapSnapshotsOnSignal({ name: 'child', rootDir: process.argv[2]! }, { log, clock: systemClock });
log.info('ready');
process.stdin.resume();
