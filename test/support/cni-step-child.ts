/**
 * Attaches or detaches pod 1 and kills itself right before its step number N: whatever it would tell the kernel (netlink) or the disk
 * is a step; what only reads is none. Exits 0 when there are fewer steps.
 *
 *     node cni-step-child.ts ADD|DEL N HOST_NETNS POD_NETNS DATA_DIR [MODULE ARGUMENT…]
 *
 * MODULE has the chain, as cni-chain.ts has that of a node's pods.
 */
import childProcess from 'node:child_process';
import fs from 'node:fs';
import fsPromises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';

const [command, number, hostNetns, podNetns, dataDir, module = './cni-chain.ts', ...more] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string,
  ...string[],
];
let stepsLeft = Number(number);
let armed = false;

function step(): void {
  if (!armed) return;
  if (--stepsLeft === 0) process.kill(process.pid, 'SIGKILL');
}

type Callable = (...args: unknown[]) => unknown;

function countCalls(owner: object, name: string, counts: (args: unknown[]) => boolean = () => true): void {
  const target = owner as Record<string, Callable>;
  const original = target[name]!;
  target[name] = function (this: unknown, ...args: unknown[]) {
    if (counts(args)) step();
    return original.apply(this, args);
  };
}

const NLMSG_TYPE_OFFSET = 4;
const RTM_GET = 2;
const NFNL_SUBSYS_NFTABLES = 10;
const NFNL_MSG_BATCH_BEGIN = 16;

/** Route messages come in fours: NEW, DEL, GET, SET. Changes of nf_tables come in a batch. */
function changes(message: Buffer): boolean {
  const type = message.readUInt16LE(NLMSG_TYPE_OFFSET);
  return (
    type === NFNL_MSG_BATCH_BEGIN || (type < 1 << 8 && type % 4 !== RTM_GET) || type >> 8 === NFNL_SUBSYS_NFTABLES + 256
  );
}

for (const name of ['writeFileSync', 'mkdirSync', 'renameSync', 'rmSync', 'linkSync', 'unlinkSync'])
  countCalls(fs, name);
// What is started works on by itself, and is done before the next step.
countCalls(childProcess, 'spawn');
for (const name of ['writeFile', 'mkdir', 'rename', 'rm', 'link', 'unlink']) countCalls(fsPromises, name);
syncBuiltinESMExports();

const { default: koffi } = (await import('koffi')) as unknown as { default: { load: Callable } };
const load = koffi.load;
koffi.load = (...args) => {
  const library = load(...args) as { func: Callable };
  return {
    func(...signature: unknown[]) {
      const call = library.func(...signature) as Callable & { async?: Callable };
      if (!/ send\(/.test(String(signature[0]))) return call;
      countCalls(call, 'async', ([, data]) => changes(data as Buffer));
      const counted = (...args: unknown[]) => {
        if (changes(args[1] as Buffer)) step();
        return call(...args);
      };
      return Object.assign(counted, { async: call.async });
    },
  };
};

const { openCniChain } = await import(module);
const chain = openCniChain(hostNetns, dataDir, ...more);
armed = true;
await (command === 'ADD' ? chain.add(1, podNetns) : chain.del(1, podNetns));
process.exit(0);
