import { connect } from 'node:net';
import { describeDial, hostPort, type ProbeOutcome } from './outcome.ts';

/** Success when the port accepts a connection, which is then closed. */
export function probeTcp(host: string, port: number, timeoutMs: number): Promise<ProbeOutcome> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const finish = (outcome: ProbeOutcome) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(outcome);
    };
    const timer = setTimeout(
      () => finish({ result: 'failure', output: `dial tcp ${hostPort(host, port)}: i/o timeout` }),
      timeoutMs,
    );
    socket.once('connect', () => finish({ result: 'success', output: '' }));
    socket.on('error', (error) => finish({ result: 'failure', output: describeDial(error, hostPort(host, port)) }));
  });
}
