import type { StoreEvent, WatchHandle, WatchListener, WatchOptions } from './store.ts';

interface Watcher {
  readonly options: WatchOptions;
  readonly listener: WatchListener;
  /** Events up to here were delivered (or don't concern it). */
  delivered: number;
  /** False while the past is still being read for it. */
  live: boolean;
}

/** Who wants to hear of which resource. Publishing costs O(watchers of the event's resource). */
export class Watchers {
  readonly #byResource = new Map<string, Set<Watcher>>();
  /** The last published revision. */
  #published: number;

  constructor(revision: number) {
    this.#published = revision;
  }

  add(options: WatchOptions, listener: WatchListener): { watcher: Watcher; handle: WatchHandle } {
    const watcher: Watcher = { options, listener, delivered: options.fromRevision, live: false };
    let watchers = this.#byResource.get(options.resource);
    if (!watchers) {
      watchers = new Set();
      this.#byResource.set(options.resource, watchers);
    }
    watchers.add(watcher);
    const handle: WatchHandle = {
      stop: () => this.#remove(watcher),
      deliveredRevision: () => (watcher.live ? Math.max(this.#published, watcher.delivered) : watcher.delivered),
    };
    return { watcher, handle };
  }

  isActive(watcher: Watcher): boolean {
    return this.#byResource.get(watcher.options.resource)?.has(watcher) ?? false;
  }

  /** Hands over those of the events that concern the watcher, up to and including revision `upTo`. */
  deliver(watcher: Watcher, events: readonly StoreEvent[], upTo: number): void {
    const wanted = events.filter((event) => event.revision > watcher.delivered && concerns(event, watcher.options));
    watcher.delivered = Math.max(watcher.delivered, upTo);
    if (wanted.length > 0) watcher.listener.events(wanted);
  }

  goLive(watcher: Watcher): void {
    watcher.live = true;
  }

  end(watcher: Watcher, error: Error | undefined): void {
    if (!this.isActive(watcher)) return;
    this.#remove(watcher);
    watcher.listener.ended(error);
  }

  /** Delivers new events, oldest first, to everyone who is up to date. */
  publish(events: readonly StoreEvent[]): void {
    this.#published = events.at(-1)!.revision;
    const byResource = new Map<string, StoreEvent[]>();
    for (const event of events) {
      const { resource } = event.record.key;
      const list = byResource.get(resource);
      if (list) list.push(event);
      else byResource.set(resource, [event]);
    }
    for (const [resource, list] of byResource)
      for (const watcher of [...(this.#byResource.get(resource) ?? [])])
        if (watcher.live) this.deliver(watcher, list, this.#published);
  }

  endAll(error: Error | undefined): void {
    for (const watchers of this.#byResource.values()) for (const watcher of [...watchers]) this.end(watcher, error);
  }

  #remove(watcher: Watcher): void {
    const watchers = this.#byResource.get(watcher.options.resource);
    watchers?.delete(watcher);
    if (watchers?.size === 0) this.#byResource.delete(watcher.options.resource);
  }
}

function concerns(event: StoreEvent, options: WatchOptions): boolean {
  const { resource, namespace, name } = event.record.key;
  return (
    resource === options.resource &&
    (options.namespace === undefined || namespace === options.namespace) &&
    (options.name === undefined || name === options.name)
  );
}
