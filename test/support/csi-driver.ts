import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { NODE_CAPABILITY } from '../../src/grpc/csi.ts';

export interface CsiDriverSettings {
  name: string;
  nodeName: string;
  endpoint: string;
  registrationSocket: string;
  /** Where the volumes' data is. */
  data: string;
  control: string;
  /** One JSON line for each call. */
  log: string;
  capabilities: (keyof typeof NODE_CAPABILITY)[];
  topology?: Record<string, string>;
  versions?: string[];
}

export interface CsiCall {
  method: string;
  request: Record<string, unknown> & { volumeContext?: Record<string, string>; secrets?: Record<string, string> };
}

export interface TestCsiDriver {
  readonly data: string;
  /** Ends the process as a crash would: its sockets stay. */
  kill(): Promise<void>;
  start(): Promise<void>;
  /** What was called so far; `method` alone when given. */
  calls(method?: string): Promise<CsiCall[]>;
  /** Calls of the method wait until `release`. */
  hold(method: string): Promise<void>;
  release(method: string): Promise<void>;
  /** Calls of the method fail with this text; undefined: no more. */
  fail(method: string, message: string | undefined): Promise<void>;
  /** Ends it for good, sockets and all. */
  stop(): Promise<void>;
}

/** Where a driver runs that does not run beside the test: its own view of paths, and how it is started. */
export interface DriverPlace {
  /** A path of the driver's, as the test reaches it. */
  path(inside: string): string;
  spawn(argv: string[]): ChildProcess;
}

const HERE: DriverPlace = {
  path: (inside) => inside,
  spawn: ([program, ...args]) => spawn(program!, args, { stdio: ['ignore', 'pipe', 'inherit'] }),
};

/** The test driver as a process of its own, as a DaemonSet's pod would run it beside the agent whose root directory it is. */
export async function startCsiDriver(
  base: string,
  rootDir: string,
  options: Partial<Pick<CsiDriverSettings, 'name' | 'nodeName' | 'capabilities' | 'topology' | 'versions'>> = {},
  place: DriverPlace = HERE,
): Promise<TestCsiDriver> {
  const name = options.name ?? 'test.csi.example';
  const own = join(base, `driver-${name}`);
  const settings: CsiDriverSettings = {
    nodeName: 'node-1',
    capabilities: ['STAGE_UNSTAGE_VOLUME'],
    ...options,
    name,
    endpoint: join(rootDir, 'plugins', name, 'csi.sock'),
    registrationSocket: join(rootDir, 'plugins_registry', `${name}-reg.sock`),
    data: join(own, 'data'),
    control: join(own, 'control'),
    log: join(own, 'calls.jsonl'),
  };
  for (const path of [
    settings.data,
    settings.control,
    join(settings.endpoint, '..'),
    join(settings.registrationSocket, '..'),
  ])
    await mkdir(place.path(path), { recursive: true });
  let child: ChildProcess | undefined;

  const driver: TestCsiDriver = {
    data: place.path(settings.data),
    async start() {
      child = place.spawn([
        process.execPath,
        join(import.meta.dirname, 'csi-driver-child.ts'),
        JSON.stringify(settings),
      ]);
      const ended = once(child, 'exit').then(() =>
        Promise.reject(new Error('the CSI driver ended before it was ready')),
      );
      await Promise.race([once(child.stdout!, 'data'), ended]);
      ended.catch(() => {});
    },
    async kill() {
      if (!child || child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
    async calls(method) {
      const text = await readFile(place.path(settings.log), 'utf8').catch(() => '');
      const all = text
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line) as CsiCall);
      return method === undefined ? all : all.filter((call) => call.method === method);
    },
    hold: (method) => writeFile(place.path(join(settings.control, `hold-${method}`)), ''),
    release: (method) => rm(place.path(join(settings.control, `hold-${method}`)), { force: true }),
    async fail(method, message) {
      const path = place.path(join(settings.control, `fail-${method}`));
      if (message === undefined) await rm(path, { force: true });
      else await writeFile(path, message);
    },
    async stop() {
      await driver.kill();
      await rm(place.path(settings.registrationSocket), { force: true });
      await rm(place.path(settings.endpoint), { force: true });
    },
  };
  await driver.start();
  return driver;
}
