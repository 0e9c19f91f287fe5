import { createStackFormatter } from './stack-traces.ts';

/** The bundle's entry: the `berth` command with stack traces that name its sources. */
Error.prepareStackTrace = createStackFormatter(import.meta.filename);
await import('../main.ts');
