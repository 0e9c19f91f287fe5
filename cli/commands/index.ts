import type { Command } from 'commander';
import { defineAgent } from './agent.ts';
import { defineCni } from './cni.ts';
import { defineDemo } from './demo.ts';
import { defineDns } from './dns.ts';
import { defineDoctor } from './doctor.ts';
import { defineDown } from './down.ts';
import { defineEngineRuntime } from './engine-runtime.ts';
import { defineJoin, defineLeave } from './join.ts';
import { defineKubeAssets } from './kube-assets.ts';
import { defineKubeconfig } from './kubeconfig.ts';
import { defineKubectl } from './kubectl.ts';
import { defineMachine } from './machine.ts';
import { defineNode } from './node.ts';
import { defineOverlay } from './overlay.ts';
import { definePrometheus } from './prometheus.ts';
import { defineProxy } from './proxy.ts';
import { defineRun } from './run.ts';
import { defineStatus } from './status.ts';
import { defineTest } from './test.ts';
import { defineToken } from './token.ts';
import { defineUp } from './up.ts';

/** One file a subcommand; this list is what `berth --help` shows, in its order. */
export const commands: ((program: Command) => void)[] = [
  defineUp,
  defineDown,
  defineStatus,
  defineDoctor,
  defineMachine,
  defineDemo,
  defineKubectl,
  defineKubeconfig,
  definePrometheus,
  defineToken,
  defineJoin,
  defineLeave,
  defineNode,
  defineAgent,
  defineProxy,
  defineOverlay,
  defineCni,
  defineEngineRuntime,
  defineRun,
  defineDns,
  defineTest,
  defineKubeAssets,
];
