import { type FSWatcher, watch } from 'node:fs';
import { lstat, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { connectGrpc } from '../../src/grpc/client.ts';
import { type PluginInfo, pluginRegistration } from '../../src/grpc/plugin-registration.ts';
import { createBackoff } from '../../src/runtime/backoff.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';

/** Takes in plugins of one type (`CSIPlugin`). */
export interface PluginHandler {
  readonly type: string;
  /** Throws when the plugin cannot be used; it is told why, and asked again later. `info.endpoint` is never empty. */
  register(info: PluginInfo, signal: AbortSignal): Promise<void>;
  /** Its socket is gone. */
  deregister(name: string): Promise<void>;
}

export interface PluginWatcherOptions {
  /** `<root dir>/plugins_registry`; made when missing. */
  directory: string;
}

/** Upstream's: half a second, doubled up to two minutes. */
const RETRY = { initialMs: 500, maxMs: 122_000 };
const CALL_TIMEOUT_MS = 10_000;
/** Should the kernel's notification have been missed. */
const RESCAN_MS = 10_000;

interface Known {
  /** Tells a socket that was made anew from the one before. */
  readonly identity: string;
  readonly stop: AbortController;
  readonly done: Promise<void>;
  registered?: PluginInfo;
}

/**
 * Follows the sockets in the registry directory: each one that appears is asked what it is, handed to the handler of its
 * type and told the outcome; one that disappears is deregistered. A restarted agent finds them all again.
 */
export function createPluginWatcher(
  { directory }: PluginWatcherOptions,
  { handlers, clock, log }: { handlers: readonly PluginHandler[]; clock: Clock; log: Logger },
) {
  const known = new Map<string, Known>();

  /** One round with the plugin behind a socket. */
  async function introduce(socket: string, signal: AbortSignal): Promise<PluginInfo> {
    const client = connectGrpc(socket);
    const call = { timeoutMs: CALL_TIMEOUT_MS, signal };
    try {
      const info = await client.call(pluginRegistration.getInfo, {}, call);
      const handler = handlers.find(({ type }) => type === info.type);
      const notify = (error: string) =>
        client.call(pluginRegistration.notifyRegistrationStatus, { pluginRegistered: error === '', error }, call);
      const whole = { ...info, endpoint: info.endpoint || socket };
      try {
        if (!handler) throw new Error(`no handler registered for plugin type: ${info.type} at socket ${socket}`);
        await handler.register(whole, signal);
      } catch (error) {
        await notify(error instanceof Error ? error.message : String(error)).catch(() => {});
        throw error;
      }
      await notify('');
      return whole;
    } finally {
      client.close();
    }
  }

  async function register(socket: string, entry: Known): Promise<void> {
    const { signal } = entry.stop;
    const backoff = createBackoff(RETRY);
    while (!signal.aborted) {
      try {
        entry.registered = await introduce(socket, signal);
        log.info({ socket, plugin: entry.registered.name }, 'plugin registered');
        return;
      } catch (error) {
        if (signal.aborted) return;
        const retryMs = backoff.nextMs();
        log.warn({ socket, err: error, retryMs }, 'plugin could not be registered, trying again');
        await clock.sleep(retryMs, signal).catch(() => {});
      }
    }
  }

  async function forget(socket: string, entry: Known): Promise<void> {
    known.delete(socket);
    entry.stop.abort();
    await entry.done;
    const { registered } = entry;
    if (!registered) return;
    log.info({ socket, plugin: registered.name }, 'plugin deregistered');
    await handlers.find(({ type }) => type === registered.type)?.deregister(registered.name);
  }

  async function scan(): Promise<void> {
    const found = new Map<string, string>();
    for (const name of await readdir(directory)) {
      if (name.startsWith('.')) continue;
      const path = join(directory, name);
      const stats = await lstat(path).catch(() => undefined);
      if (stats?.isSocket()) found.set(path, `${stats.ino}@${stats.birthtimeMs}`);
    }
    for (const [socket, entry] of [...known]) if (found.get(socket) !== entry.identity) await forget(socket, entry);
    for (const [socket, identity] of found) {
      if (known.has(socket)) continue;
      const stop = new AbortController();
      const { promise, resolve } = Promise.withResolvers<void>();
      const entry: Known = { identity, stop, done: promise };
      known.set(socket, entry);
      register(socket, entry).finally(resolve);
    }
  }

  return {
    async run(signal: AbortSignal): Promise<void> {
      let wake = () => {};
      let isDirty = true;
      const look = () => {
        isDirty = true;
        wake();
      };
      let watcher: FSWatcher | undefined;
      signal.addEventListener('abort', look, { once: true });
      while (!signal.aborted) {
        isDirty = false;
        try {
          await mkdir(directory, { recursive: true, mode: 0o750 });
          watcher ??= watch(directory, look).on('error', () => {
            watcher?.close();
            watcher = undefined;
          });
          await scan();
        } catch (error) {
          log.warn({ directory, err: error }, 'the plugin registry could not be read');
        }
        if (isDirty) continue;
        await new Promise<void>((resolve) => {
          const cancel = clock.after(RESCAN_MS, resolve);
          wake = () => {
            cancel();
            resolve();
          };
        });
      }
      watcher?.close();
      for (const { stop } of known.values()) stop.abort();
      await Promise.all([...known.values()].map(({ done }) => done));
    },
  };
}
