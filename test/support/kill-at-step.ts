/**
 * Ends this process by SIGKILL right before its step of a given number: whatever it would tell the kernel (netlink, ioctl, signals), the disk,
 * a program that it starts or BIRD is a step; what only reads is none. To be called before anything of src/ is loaded.
 */
import childProcess from 'node:child_process';
import fs from 'node:fs';
import fsPromises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { Socket } from 'node:net';
import { basename } from 'node:path';

export interface Steps {
  /** From here on steps count. */
  arm(): void;
  /** For what is a step though none of the above: a request to a server. */
  step(): void;
  /** Of what is not the product's: no step is in it. */
  uncounted(work: () => void): void;
}

type Callable = (...args: unknown[]) => unknown;

const NLMSG_TYPE_OFFSET = 4;
const COMMAND_OFFSET = 16;
const RTM_GET = 2;
const NFNL_SUBSYS_NFTABLES = 10;
const NFNL_MSG_BATCH_BEGIN = 16;
const NETLINK_GENERIC = 16;
const GENL_ID_CTRL = 16;
const WG_CMD_SET_DEVICE = 1;
/** Of programs the ones that only tell something. */
const READERS = /^(ip6?tables|ip6?tables-nft|ip6?tables-legacy)-save$/;

/** Route messages come in fours: NEW, DEL, GET, SET. Changes of nf_tables come in a batch. */
function changes(message: Buffer): boolean {
  const type = message.readUInt16LE(NLMSG_TYPE_OFFSET);
  return (
    type === NFNL_MSG_BATCH_BEGIN || (type < 1 << 8 && type % 4 !== RTM_GET) || type >> 8 === NFNL_SUBSYS_NFTABLES + 256
  );
}

/** Types of generic netlink are of the kernel's choice: what a message does is in its command. */
function changesGeneric(message: Buffer): boolean {
  return message.readUInt16LE(NLMSG_TYPE_OFFSET) !== GENL_ID_CTRL && message[COMMAND_OFFSET] === WG_CMD_SET_DEVICE;
}

/** Such as `nft --json list ruleset` or `nsenter --net=… nft list`. */
function onlyReads([program, args]: unknown[]): boolean {
  const words = [String(program), ...(args as string[])];
  if (words.some((word) => READERS.test(basename(word)))) return true;
  if (words.includes('--version')) return true;
  return words.some((word) => basename(word) === 'nft') && words.includes('list');
}

export async function killAtStep(number: number): Promise<Steps> {
  const kill = process.kill.bind(process);
  let stepsLeft = number;
  let armed = false;

  function step(): void {
    if (armed && --stepsLeft === 0) kill(process.pid, 'SIGKILL');
  }

  function countCalls(owner: object, name: string, counts: (args: unknown[]) => boolean): void {
    const target = owner as Record<string, Callable>;
    const original = target[name]!;
    target[name] = function (this: unknown, ...args: unknown[]) {
      if (counts(args)) step();
      return original.apply(this, args);
    };
  }

  for (const name of ['writeFileSync', 'mkdirSync', 'renameSync', 'rmSync', 'linkSync', 'unlinkSync', 'rmdirSync'])
    countCalls(fs, name, () => true);
  for (const name of ['writeFile', 'mkdir', 'rename', 'rm', 'link', 'unlink', 'rmdir'])
    countCalls(fsPromises, name, () => true);
  // What is started works on by itself, and is done before the next step.
  countCalls(childProcess, 'spawn', (args) => !onlyReads(args));
  countCalls(process, 'kill', () => true);
  countCalls(Socket.prototype, 'write', ([data]) => typeof data === 'string' && data.startsWith('configure'));
  syncBuiltinESMExports();

  const protocols = new Map<unknown, unknown>();
  const onSend = ([fd, message]: unknown[]) => {
    if ((protocols.get(fd) === NETLINK_GENERIC ? changesGeneric : changes)(message as Buffer)) step();
  };
  const { default: koffi } = (await import('koffi')) as unknown as { default: { load: Callable } };
  const load = koffi.load;
  koffi.load = (...args) => {
    const library = load(...args) as { func: Callable };
    return {
      func(...signature: unknown[]) {
        const call = library.func(...signature) as Callable & { async?: Callable };
        const text = String(signature[0]);
        const before = (watch: (values: unknown[]) => void) => {
          const watched =
            (from: Callable) =>
            (...values: unknown[]) => {
              watch(values);
              return from(...values);
            };
          return Object.assign(watched(call), { async: call.async && watched(call.async) });
        };
        if (/ send\(/.test(text)) return before(onSend);
        // Of TUN devices: making one, and having it stay.
        if (/ ioctl\(.*\.\.\.\)/.test(text)) return before(step);
        if (!/ socket\(/.test(text)) return call;
        return (...values: unknown[]) => {
          const fd = call(...values);
          protocols.set(fd, values[2]);
          return fd;
        };
      },
    };
  };

  return {
    step,
    uncounted(work) {
      const before = armed;
      armed = false;
      work();
      armed = before;
    },
    arm() {
      armed = true;
    },
  };
}
