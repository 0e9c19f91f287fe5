import { join } from 'node:path';

export interface TrafficRequest {
  protocol: 'tcp' | 'udp';
  host: string;
  port: number;
  /** What is sent, and is to come back. */
  bytes: number;
  timeoutMs?: number;
}

export interface TrafficAnswer {
  /** The caller's address as the other side saw it. */
  from?: string;
  /** Errno's name, `TIMEOUT`, or how the answer differs from what was sent. */
  error?: string;
}

/** A machine that takes shell scripts as root: a host of namespaces, or a guest. */
export interface TrafficMachine {
  sh(script: string, timeoutSeconds?: number): Promise<string>;
  /** Node.js there, and traffic-child.ts. */
  node?: string;
  program?: string;
}

/** Tries what goes between addresses of one machine's network namespaces, wherever in it they are: pods, nodes, nodes' pods. */
export function createTraffic({ sh, node = process.execPath, program }: TrafficMachine) {
  const child = `${node} ${program ?? join(import.meta.dirname, 'traffic-child.ts')}`;
  /** A process in the namespace that has an address; pids of nodes within the machine are the machine's here. */
  const pidAt = async (address: string) => {
    const found = await sh(
      `for pid in $(lsns -t net -n -o PID); do if nsenter -t $pid -n ip -o address | grep -qF ' ${address}/'; then echo $pid; exit; fi; done`,
    );
    if (found.trim() === '') throw new Error(`no network namespace of the machine has the address ${address}`);
    return found.trim();
  };
  const within = async (address: string) => `nsenter -t ${await pidAt(address)} -n`;
  const askCommand = (requests: readonly TrafficRequest[]) => `${child} ask '${JSON.stringify(requests)}'`;
  const servers: string[] = [];
  return {
    /** Runs a program in the namespace that has the address. */
    async run(address: string, command: string): Promise<string> {
      return (await sh(`${await within(address)} ${command}`)).trim();
    },
    /** Answers on `port` of TCP and UDP there, until `stop()`. */
    async serve(address: string, port: number): Promise<void> {
      const said = `/run/traffic-${address.replaceAll(':', '-')}`;
      const pid = await sh(`setsid ${await within(address)} ${child} serve ${port} >${said} 2>&1 </dev/null &
        for _ in $(seq 600); do ! grep -q ready ${said} || break; sleep 0.05; done; grep -q ready ${said}; rm ${said}; echo $!`);
      servers.push(pid.trim());
    },
    /** Asks from there. */
    async ask(address: string, requests: readonly TrafficRequest[]): Promise<TrafficAnswer[]> {
      return JSON.parse(await sh(`${await within(address)} ${askCommand(requests)}`));
    },
    /** What asks, for a shell elsewhere; it prints the answers. */
    askCommand,
    /** Ends the servers: each keeps the namespace that it is in. */
    async stop(): Promise<void> {
      for (const pid of servers.splice(0)) await sh(`kill ${pid} 2>/dev/null || true`);
    },
  };
}

export type Traffic = ReturnType<typeof createTraffic>;
