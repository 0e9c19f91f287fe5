/** Prints the snapshot of the host that it runs in, as JSON. */
import { snapshotHost } from './host-snapshot.ts';

process.stdout.write(JSON.stringify(await snapshotHost()));
