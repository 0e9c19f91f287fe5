import { closeSync, readdirSync, readFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import dbus, { type Message } from 'dbus-native';
import koffi from 'koffi';
import { DescriptorStream } from '../../src/dbus/descriptor-stream.ts';

const LOGIN = 'org.freedesktop.login1';
const LOGIN_PATH = '/org/freedesktop/login1';
const SYSTEMD = 'org.freedesktop.systemd1';
const CALL = 1;
const RETURN = 2;
const ERROR = 3;
const SIGNAL = 4;
const BUS = 'org.freedesktop.DBus';

interface Lock {
  what: string;
  who: string;
  why: string;
  mode: string;
}

export interface FakeLogind {
  /** Who holds a lock now, as `systemd-inhibit --list` would show it. */
  locks(): Lock[];
  /** Begins a shutdown; resolves when no lock holds it any more, or InhibitDelayMaxSec is over: how it came. */
  shutdown(): Promise<'released' | 'expired'>;
  /** A lock of somebody else. */
  hold(): { release(): void };
  /** The shutdown failed: all as before. */
  cancel(): void;
  delaySeconds(): number;
  stop(): void;
}

/**
 * As much of systemd-logind (and of the systemd that signals it) as a delay lock has to do with, by the manual: a lock is a pipe whose
 * other end it watches, a shutdown waits for locks up to InhibitDelayMaxSec, which drop-ins override once it was told to look.
 */
export async function startFakeLogind(
  address: string,
  options: { confDir: string; delaySeconds?: number; ignoresReload?: boolean },
): Promise<FakeLogind> {
  // The bare connection: the library's client would answer calls by itself, without descriptors.
  const stream = new DescriptorStream(address.replace(/^unix:path=([^,]*).*$/, '$1'));
  const connection = dbus.createConnection({ stream });
  connection.on('error', () => {});
  let serial = 0;
  const send = (message: Message) => connection.message({ serial: ++serial, ...message });
  const locks = new Map<Socket, Lock>();
  let delaySeconds = options.delaySeconds ?? 5;
  let isPreparing = false;
  let wake = () => {};

  function reply(call: Message, signature?: string, body?: unknown[], fds?: number[]) {
    send({
      type: RETURN,
      replySerial: call.serial!,
      destination: call.sender!,
      ...(signature && { signature, body: body! }),
      ...(fds && { fds }),
    });
  }

  /** The lock is held as long as anybody has the pipe's other end. */
  function watch(readEnd: number, lock: Lock): void {
    const socket = new Socket({ fd: readEnd, readable: true, writable: false });
    locks.set(socket, lock);
    socket.resume();
    socket.once('close', () => {
      locks.delete(socket);
      wake();
    });
  }

  function inhibit(call: Message): void {
    if (isPreparing) {
      const body = ['The operation inhibition has been requested for is already running'];
      send({
        type: ERROR,
        errorName: `${LOGIN}.OperationInProgress`,
        replySerial: call.serial!,
        destination: call.sender!,
        signature: 's',
        body,
      });
      return;
    }
    const [what, who, why, mode] = call.body as string[];
    const [readEnd, writeEnd] = pipe();
    watch(readEnd, { what: what!, who: who!, why: why!, mode: mode! });
    reply(call, 'h', [0], [writeEnd]);
    // It has left with the message by the next turn but one.
    setTimeout(() => closeSync(writeEnd), 50);
  }

  function reload(): void {
    for (const name of readdirSync(options.confDir).sort()) {
      const seconds = /^InhibitDelayMaxSec=(\d+)$/m.exec(readFileSync(join(options.confDir, name), 'utf8'))?.[1];
      if (seconds) delaySeconds = Number(seconds);
    }
  }

  const answered = new Map<number, () => void>();
  connection.on('message', (call: Message) => {
    if (call.type !== CALL) return answered.get(call.replySerial ?? 0)?.();
    const name = `${call.interface}.${call.member}`;
    if (name === `${LOGIN}.Manager.Inhibit`) inhibit(call);
    else if (name === `${SYSTEMD}.Manager.KillUnit`) {
      // systemd answers when the signal is sent; logind reads its files later.
      if (!options.ignoresReload) setTimeout(reload, 150);
      reply(call);
    } else if (name === 'org.freedesktop.DBus.Properties.Get') {
      const property = call.body?.[1];
      const value = property === 'PreparingForShutdown' ? ['b', isPreparing] : ['t', BigInt(delaySeconds) * 1_000_000n];
      reply(call, 'v', [value]);
    }
  });
  const ask = (member: string, signature?: string, body?: unknown[]) =>
    new Promise<void>((resolve) => {
      answered.set(serial + 1, resolve);
      send({
        type: CALL,
        destination: BUS,
        path: '/org/freedesktop/DBus',
        interface: BUS,
        member,
        ...(signature && { signature, body: body! }),
      });
    });
  await ask('Hello');
  for (const name of [LOGIN, SYSTEMD]) await ask('RequestName', 'su', [name, 0]);

  const prepare = (is: boolean) => {
    isPreparing = is;
    send({
      type: SIGNAL,
      path: LOGIN_PATH,
      interface: `${LOGIN}.Manager`,
      member: 'PrepareForShutdown',
      signature: 'b',
      body: [is],
    });
  };
  return {
    locks: () => [...locks.values()],
    async shutdown() {
      prepare(true);
      const deadline = Date.now() + delaySeconds * 1000;
      while (locks.size > 0 && Date.now() < deadline)
        await new Promise<void>((resolve) => {
          wake = resolve;
          setTimeout(resolve, deadline - Date.now());
        });
      return locks.size === 0 ? 'released' : 'expired';
    },
    hold() {
      const [readEnd, writeEnd] = pipe();
      watch(readEnd, { what: 'shutdown', who: 'somebody', why: 'a test', mode: 'delay' });
      return { release: () => closeSync(writeEnd) };
    },
    cancel: () => prepare(false),
    delaySeconds: () => delaySeconds,
    stop() {
      for (const socket of locks.keys()) socket.destroy();
      stream.destroy();
    },
  };
}

const pipe2 = koffi.load('libc.so.6').func('int pipe2(_Out_ int *ends, int flags)');
const O_CLOEXEC = 0o2000000;

function pipe(): [number, number] {
  const ends = [0, 0];
  if (pipe2(ends, O_CLOEXEC) !== 0) throw new Error(`pipe2: errno ${koffi.errno()}`);
  return [ends[0]!, ends[1]!];
}
