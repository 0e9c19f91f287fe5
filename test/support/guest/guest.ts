import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { GuestImage } from './image.ts';

const QEMU = '/usr/bin/qemu-system-x86_64';
const BOOT_TIMEOUT_MS = 180_000;
const CONSOLE_LIMIT_CHARS = 64 * 1024;

interface Answer {
  code: number;
  stdout: string;
  stderr: string;
}

/** A virtual machine with Debian's kernel and systemd as PID 1. It has no network card. */
export interface Guest {
  /** Seconds from qemu's start, or the last reboot's, until the guest took commands. */
  readonly bootSeconds: number;
  /** Runs a shell script as root. */
  try(script: string, timeoutSeconds?: number): Promise<Answer>;
  /** The same; throws with what it said unless it ends with 0. Returns stdout, trimmed. */
  sh(script: string, timeoutSeconds?: number): Promise<string>;
  /** `systemctl reboot`; resolves when the guest takes commands again. */
  reboot(): Promise<void>;
  /** The end of what kernel and systemd said on the console. */
  console(): string;
  close(): Promise<void>;
}

/** Why guests can't be run on this host; undefined when they can. */
export function whyNoGuest(): string | undefined {
  return existsSync(QEMU) ? undefined : `${QEMU} is not installed (apt-get install qemu-system-x86)`;
}

/** Boots. The processor is emulated (TCG): KVM is rarely there where tests run. What the guest writes is gone when it is closed. */
export async function bootGuest(image: GuestImage, disk: string): Promise<Guest> {
  const work = mkdtempSync(join(tmpdir(), 'berth-guest-'));
  const socketPath = join(work, 'commands');
  const drive = (file: string) => ['-drive', `file=${file},format=raw,if=virtio,snapshot=on`];
  const qemu = spawn(
    'nice',
    // biome-ignore format: an option a line
    [
      '-n', '10', QEMU,
      '-accel', 'tcg,thread=multi', '-cpu', 'max', '-smp', '2', '-m', '2048', '-nodefaults', '-display', 'none', '-nic', 'none',
      '-kernel', image.kernel, '-initrd', image.initialRamDisk, '-append', 'console=ttyS0 panic=-1 tsc=reliable loglevel=4',
      ...drive(image.root), ...drive(disk),
      '-serial', 'stdio', '-serial', `unix:${socketPath},server=on,wait=off`,
    ],
    { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', TMPDIR: work } },
  );
  let text = '';
  for (const stream of [qemu.stdout, qemu.stderr])
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      text = (text + chunk).slice(-CONSOLE_LIMIT_CHARS);
    });
  try {
    const line = await connect(socketPath, qemu);
    const guest = createGuest(qemu, line, work, () => text);
    await guest.booted();
    return guest;
  } catch (error) {
    await end(qemu, work);
    throw new Error(`${(error as Error).message}\n${text.slice(-2000)}`, { cause: error });
  }
}

async function connect(path: string, qemu: ChildProcess): Promise<Socket> {
  for (let tries = 0; tries < 200; tries++) {
    if (qemu.exitCode !== null || qemu.signalCode !== null) throw new Error('qemu ended');
    const socket = createConnection(path);
    try {
      await once(socket, 'connect');
      return socket;
    } catch {
      await sleep(50);
    }
  }
  throw new Error('qemu opened no command line in 10 s');
}

function createGuest(qemu: ChildProcess, socket: Socket, work: string, text: () => string) {
  const waiting = new Map<number, (answer: Answer) => void>();
  let lastId = 0;
  let onReady: (() => void) | undefined;
  let started = performance.now();
  let bootSeconds = 0;
  createInterface({ input: socket }).on('line', (line) => {
    if (line.endsWith('READY')) return onReady?.();
    const [word, id, code, stdout = '', stderr = ''] = line.split(' ');
    if (word !== 'ANSWER') return;
    const plain = (base64: string) => Buffer.from(base64, 'base64').toString();
    waiting.get(Number(id))?.({ code: Number(code), stdout: plain(stdout), stderr: plain(stderr) });
  });
  socket.on('error', () => {});

  function booted(): Promise<void> {
    return withTimeout(BOOT_TIMEOUT_MS, 'the guest took no commands', (resolve) => {
      onReady = () => {
        bootSeconds = (performance.now() - started) / 1000;
        resolve();
      };
    });
  }
  const send = (id: number, seconds: number, script: string) =>
    socket.write(`${id} ${seconds} ${Buffer.from(script).toString('base64')}\n`);

  const guest = {
    get bootSeconds() {
      return bootSeconds;
    },
    booted,
    async try(script: string, timeoutSeconds = 60): Promise<Answer> {
      const id = ++lastId;
      try {
        return await withTimeout((timeoutSeconds + 30) * 1000, `no answer to: ${script}`, (resolve) => {
          waiting.set(id, resolve);
          send(id, timeoutSeconds, script);
        });
      } finally {
        waiting.delete(id);
      }
    },
    async sh(script: string, timeoutSeconds?: number): Promise<string> {
      const { code, stdout, stderr } = await guest.try(script, timeoutSeconds);
      if (code !== 0) throw new Error(`exit code ${code} of: ${script}\n${stdout}${stderr}`);
      return stdout.trim();
    },
    async reboot(): Promise<void> {
      started = performance.now();
      const up = booted();
      send(++lastId, 60, 'systemctl reboot');
      await up;
    },
    console: text,
    async close(): Promise<void> {
      socket.destroy();
      await end(qemu, work);
    },
  };
  return guest;
}

async function end(qemu: ChildProcess, work: string): Promise<void> {
  if (qemu.exitCode === null && qemu.signalCode === null) {
    const ended = once(qemu, 'close');
    qemu.kill('SIGKILL');
    await ended;
  }
  rmSync(work, { recursive: true, force: true });
}

function withTimeout<T>(timeoutMs: number, problem: string, start: (resolve: (value: T) => void) => void): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${problem} in ${timeoutMs / 1000} s`)), timeoutMs);
    start((value) => {
      clearTimeout(timer);
      resolve(value);
    });
  });
}
