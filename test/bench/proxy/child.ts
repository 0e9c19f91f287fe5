import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { findProgram } from '../../../src/linux/exec.ts';

/** A process of the bench inside a namespace, which answers orders. */
export interface BenchChild<Order> {
  tell(order: Order): Promise<unknown>;
  end(): void;
}

export function startBenchChild<Order extends object>(file: string, netns: string): BenchChild<Order> {
  const child: ChildProcess = spawn(
    findProgram('nsenter'),
    [`--net=${netns}`, '--', process.execPath, join(import.meta.dirname, file)],
    { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] },
  );
  let nextId = 0;
  const waiting = new Map<number, PromiseWithResolvers<unknown>>();
  child.on('message', ({ id, answer }: { id: number; answer: unknown }) => {
    const one = waiting.get(id);
    waiting.delete(id);
    if (typeof answer === 'object' && answer && 'error' in answer) one?.reject(new Error(String(answer.error)));
    else one?.resolve(answer);
  });
  child.on('exit', () => {
    for (const one of waiting.values()) one.reject(new Error(`${file} has ended`));
  });
  return {
    tell(order) {
      const id = nextId++;
      const one = Promise.withResolvers<unknown>();
      waiting.set(id, one);
      child.send({ id, ...order });
      return one.promise;
    },
    end: () => void child.kill('SIGKILL'),
  };
}
