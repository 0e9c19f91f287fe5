import { mkdtemp, rm } from 'node:fs/promises';
import { Agent, createServer, type IncomingMessage, request, type ServerResponse, STATUS_CODES } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Duplex, Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { resetSocket } from '../../src/runtime/reset-socket.ts';

/**
 * What befalls a call.
 * - `delay`: the Engine sees it later
 * - `error`: the Engine never sees it, the caller gets this status and message
 * - `hang`: no answer. `before`: the Engine never sees it; `after`: the Engine has done it
 * - `drop`: the connection ends without an answer, before or after the Engine has done it
 * - `tear`: the answer's body ends after so many bytes, by `close`, by `reset` (RST on tcp), or in `silence`: the
 *   connection stays, nothing comes any more (half-open)
 */
export type Fault =
  | { kind: 'delay'; ms: number }
  | { kind: 'error'; status: number; message: string }
  | { kind: 'hang'; when: 'before' | 'after' }
  | { kind: 'drop'; when: 'before' | 'after' }
  | { kind: 'tear'; afterBytes: number; how: 'close' | 'reset' | 'silence' };

export interface CallMatch {
  method?: string;
  /** Against the path without its version: `/containers/<id>/json`. */
  path?: RegExp;
  /** Against the query: `since=…&filters=…`. */
  query?: RegExp;
  /** Only the n-th matching call, from 1; every one unless said. */
  nth?: number;
}

/** One call as the proxy saw it. Times are monotonic milliseconds. */
export interface ProxiedCall {
  method: string;
  path: string;
  query: string;
  beganMs: number;
  endedMs: number | undefined;
}

export interface FaultRule {
  /** How many calls matched (with `nth`: also those before it). */
  readonly hits: number;
  /** Resolves when the fault has struck for the first time. */
  readonly struck: Promise<ProxiedCall>;
  remove(): void;
}

export interface DockerFaultProxy {
  endpoint: string;
  /** Every call since the start, or since this was emptied. */
  calls: ProxiedCall[];
  /** The newest rule that matches decides. */
  on(match: CallMatch, fault: Fault): FaultRule;
  /**
   * Holds the k-th call (from 1) of those that match, `before` or `after` the Engine has done it, and every matching call
   * behind it: whoever is killed now dies at exactly this step.
   */
  freezeAt(k: number, when: 'before' | 'after', match?: Omit<CallMatch, 'nth'>): FaultRule;
  /** Ends every connection at once, as an Engine that dies does. */
  dropConnections(): void;
  /** Removes all rules; what hangs goes on. */
  clear(): void;
  close(): Promise<void>;
}

interface Rule {
  match: CallMatch;
  faultOf(hit: number): Fault | undefined;
  hits: number;
  struck: PromiseWithResolvers<ProxiedCall>;
}

/**
 * Passes calls on to an Engine's socket, and lets happen to them what the script says. `tcp` for faults that a unix socket cannot have (RST).
 * @param socket where it listens, if not at a path of its own: inside of a host, for example
 */
export async function startDockerFaultProxy(
  engineSocket: string,
  listen: 'unix' | 'tcp' = 'unix',
  socket?: string,
): Promise<DockerFaultProxy> {
  const folder = await mkdtemp('/tmp/berth-faults-');
  const socketPath = socket ?? join(folder, 'docker.sock');
  const agent = new Agent({ keepAlive: true });
  const rules: Rule[] = [];
  const sockets = new Set<Socket>();
  let held: (() => void)[] = [];
  const calls: ProxiedCall[] = [];

  /** Notes the call and finds what shall befall it. */
  function receive(incoming: IncomingMessage): { call: ProxiedCall; fault: Fault | undefined } {
    const url = new URL(incoming.url ?? '/', 'http://engine');
    const path = url.pathname.replace(/^\/v\d+\.\d+(?=\/)/, '');
    const query = decodeURIComponent(url.search.slice(1));
    const call = { method: incoming.method ?? '', path, query, beganMs: performance.now(), endedMs: undefined };
    calls.push(call);
    let fault: Fault | undefined;
    for (const rule of rules) {
      const { method, path: wanted, query: asked } = rule.match;
      if ((method && method !== call.method) || !(wanted?.test(path) ?? true) || !(asked?.test(query) ?? true))
        continue;
      const own = rule.faultOf(++rule.hits);
      if (!own) continue;
      fault = own;
      rule.struck.resolve(call);
    }
    return { call, fault };
  }

  const untilReleased = () => new Promise<void>((resolve) => held.push(resolve));

  /** @returns false when the call has had its answer (or will have none). */
  async function befallBefore(fault: Fault | undefined, refuse: (fault: Fault) => void): Promise<boolean> {
    if (fault?.kind === 'delay') await sleep(fault.ms);
    if (fault?.kind === 'hang' && fault.when === 'before') await untilReleased();
    if (fault?.kind === 'error' || (fault?.kind === 'drop' && fault.when === 'before')) {
      refuse(fault);
      return false;
    }
    return true;
  }

  async function answer(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const { call, fault } = receive(incoming);
    // Handed to the kernel: the client cannot know it sooner.
    for (const end of ['finish', 'close'])
      outgoing.on(end, () => {
        call.endedMs ??= performance.now();
      });
    const mayPass = await befallBefore(fault, (refusal) => {
      if (refusal.kind !== 'error') return incoming.socket.destroy();
      incoming.resume();
      outgoing.writeHead(refusal.status, { 'Content-Type': 'application/json' });
      return outgoing.end(JSON.stringify({ message: refusal.message }));
    });
    if (!mayPass || outgoing.destroyed) return;
    const { method, url, headers } = incoming;
    const upstream = request({ socketPath: engineSocket, method, path: url, headers, agent });
    upstream.on('error', () => outgoing.destroy());
    outgoing.on('close', () => upstream.destroy());
    upstream.on('response', async (response) => {
      if (fault?.kind === 'drop') return incoming.socket.destroy();
      if (fault?.kind === 'hang' && fault.when === 'after') await untilReleased();
      if (outgoing.destroyed) return;
      const { 'transfer-encoding': _, connection: __, ...rest } = response.headers;
      outgoing.writeHead(response.statusCode ?? 500, rest);
      outgoing.flushHeaders();
      response.on('error', () => outgoing.destroy());
      if (fault?.kind === 'tear') tear(response, outgoing, incoming.socket, fault);
      else response.pipe(outgoing);
    });
    incoming.pipe(upstream);
  }

  /** A hijacked connection (exec, attach): after the answer's head both sides say what they like. */
  async function hijack(incoming: IncomingMessage, client: Duplex, head: Buffer): Promise<void> {
    const { call, fault } = receive(incoming);
    client.on('error', () => client.destroy());
    client.on('close', () => {
      call.endedMs ??= performance.now();
    });
    const mayPass = await befallBefore(fault, (refusal) => {
      if (refusal.kind !== 'error') return client.destroy();
      const body = JSON.stringify({ message: refusal.message });
      return client.end(
        `HTTP/1.1 ${refusal.status} ${STATUS_CODES[refusal.status]}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
      );
    });
    if (!mayPass || client.destroyed) return;
    const engine = connect({ path: engineSocket, allowHalfOpen: true });
    engine.on('error', () => client.destroy());
    client.on('close', () => engine.destroy());
    const lines = incoming.rawHeaders.flatMap((name, at, all) => (at % 2 === 0 ? [`${name}: ${all[at + 1]}`] : []));
    engine.write(`${incoming.method} ${incoming.url} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`);
    engine.write(head);
    client.pipe(engine);
    if (fault?.kind === 'drop') engine.once('data', () => client.destroy());
    else if (fault?.kind === 'hang' && fault.when === 'after') {
      engine.pause();
      await untilReleased();
      engine.pipe(client);
    } else if (fault?.kind === 'tear') tear(engine, client, client as Socket, fault, true);
    else engine.pipe(client);
  }

  function tear(
    from: Readable,
    to: NodeJS.WritableStream,
    client: Socket,
    fault: Extract<Fault, { kind: 'tear' }>,
    hasHead = false,
  ): void {
    let left = fault.afterBytes;
    let head = hasHead ? Buffer.alloc(0) : undefined;
    const end = () => {
      if (fault.how === 'silence') return;
      // Only tcp knows RST.
      if (fault.how === 'reset' && listen === 'tcp') resetSocket(client);
      else client.destroy();
    };
    const body = (chunk: Buffer) => {
      if (left > 0) to.write(chunk.subarray(0, left), () => left <= 0 && end());
      else end();
      left -= chunk.length;
    };
    from.on('data', (chunk: Buffer) => {
      if (left <= 0) return;
      if (!head) return body(chunk);
      head = Buffer.concat([head, chunk]);
      const ends = head.indexOf('\r\n\r\n');
      if (ends === -1) return;
      to.write(head.subarray(0, ends + 4));
      const rest = head.subarray(ends + 4);
      head = undefined;
      body(rest);
    });
    from.on('end', () => left > 0 && to.end());
    if (left <= 0) setImmediate(end);
  }

  const server = createServer((incoming, outgoing) => {
    answer(incoming, outgoing).catch(() => outgoing.destroy());
  });
  server.on('upgrade', (incoming, client, head) => {
    hijack(incoming, client, head).catch(() => client.destroy());
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => sockets.delete(socket));
  });
  server.keepAliveTimeout = 0;
  server.requestTimeout = 0;
  await new Promise<void>((resolve) => {
    if (listen === 'unix') server.listen(socketPath, resolve);
    else server.listen(0, '127.0.0.1', resolve);
  });

  function add(match: CallMatch, faultOf: Rule['faultOf']): FaultRule {
    const rule: Rule = { match, faultOf, hits: 0, struck: Promise.withResolvers() };
    rules.push(rule);
    return {
      get hits() {
        return rule.hits;
      },
      struck: rule.struck.promise,
      remove() {
        const at = rules.indexOf(rule);
        if (at !== -1) rules.splice(at, 1);
      },
    };
  }

  return {
    endpoint: listen === 'unix' ? `unix://${socketPath}` : `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls,
    on: (match, fault) => add(match, (hit) => (match.nth === undefined || match.nth === hit ? fault : undefined)),
    freezeAt: (k, when, match = {}) =>
      add(match, (hit) => (hit < k ? undefined : { kind: 'hang', when: hit === k ? when : 'before' })),
    dropConnections() {
      for (const socket of sockets) socket.destroy();
    },
    clear() {
      rules.length = 0;
      const release = held;
      held = [];
      for (const go of release) go();
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      agent.destroy();
      await new Promise((resolve) => server.close(resolve));
      await rm(folder, { recursive: true, force: true });
    },
  };
}
