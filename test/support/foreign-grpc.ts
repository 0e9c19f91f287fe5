import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { CHECKOUT } from '../../cli/daemon/launch.ts';
import { libraryClosure, unpackPackages } from '../../cli/debian/packages.ts';

const PACKAGES = ['python3-grpcio', 'python3-protobuf'];

/** gRPC's own C core in Debian's Python: a peer that shares no code with ours. */
export interface ForeignGrpc {
  /** Starts foreign-grpc-peer.py with these arguments; its stdin and stdout are pipes. */
  start(...args: string[]): ChildProcess;
}

/** Unpacked beside the system where the next run finds it; `skip` says why there is none. */
export async function foreignGrpcOrWhyNot(): Promise<ForeignGrpc | { skip: string }> {
  if (process.env['BERTH_TEST_FULL'] !== '1') return { skip: 'a foreign gRPC belongs to --full' };
  const folder = join(CHECKOUT, '.toolchain/grpc-python');
  const env = {
    ...process.env,
    PYTHONPATH: join(folder, 'usr/lib/python3/dist-packages'),
    LD_LIBRARY_PATH: ['x86_64-linux-gnu', 'aarch64-linux-gnu'].map((name) => join(folder, 'usr/lib', name)).join(':'),
  };
  try {
    if (!existsSync(folder)) {
      const partial = `${folder}.${process.pid}`;
      const libraries = (await libraryClosure(PACKAGES)).filter(
        (name) => !/^lib(c6|gcc|python|crypt|expat)/.test(name),
      );
      await unpackPackages([...PACKAGES, ...libraries], partial).catch((error) => {
        rmSync(partial, { recursive: true, force: true });
        throw error;
      });
      renameSync(partial, folder);
    }
  } catch (error) {
    return { skip: `no foreign gRPC (${(error as Error).message.split('\n')[0]})` };
  }
  const { status, stderr, error } = spawnSync('python3', ['-c', 'import grpc'], { env, encoding: 'utf8' });
  if (status !== 0) return { skip: `no foreign gRPC (${error?.message ?? stderr.trim().split('\n').at(-1)})` };
  return {
    start: (...args) =>
      spawn('python3', [join(import.meta.dirname, 'foreign-grpc-peer.py'), ...args], {
        env,
        stdio: ['pipe', 'pipe', 'inherit'],
      }),
  };
}
