import { once } from 'node:events';
import { rmSync, statSync, writeFileSync } from 'node:fs';
import { createConnection, type Server } from 'node:net';
import { dirname } from 'node:path';
import { createDhcpDaemon } from '../../cni/ipam/dhcp/daemon.ts';
import { createLeaseHolder } from '../../cni/ipam/dhcp/lease-holder.ts';
import { createDhcpLeases } from '../../cni/ipam/dhcp/leases.ts';
import { makeDirectory } from '../../cni/ipam/make-directory.ts';
import { parseDhcpCall } from '../../cni/programs/dhcp.ts';
import { sdNotify } from '../../src/runtime/sd-notify.ts';
import { UserError } from '../output/failure.ts';
import { abortOnSignals, createContext } from '../roots/context.ts';
import { adoptLeases } from './dhcp-adoption.ts';
import { parseDhcpFlags } from './dhcp-flags.ts';

/** Beside the socket, for a daemon after this one: `/run/cni/dhcp/`; `/run/dhcp.leases/` of `/run/dhcp`. */
const stateDirOf = (socketPath: string) =>
  socketPath.endsWith('.sock') ? `${socketPath.slice(0, -'.sock'.length)}/` : `${socketPath}.leases/`;
/** The first descriptor that systemd hands over (sd_listen_fds(3)). */
const FIRST_PASSED_FD = 3;

/**
 * `dhcp daemon` and `berth cni dhcp-daemon`: keeps the leases of containers whose address manager is `dhcp`, until SIGTERM. It gives none
 * back then: the next one goes on with them.
 */
export async function runDhcpDaemon(args: readonly string[]): Promise<void> {
  const options = parseDhcpFlags(args);
  const { log, clock } = createContext();
  const signal = abortOnSignals();
  const socketPath = options.hostPrefix + options.socketPath;
  const leases = createDhcpLeases({ ...options, stateDir: stateDirOf(socketPath) }, { log, clock });
  const holder = createLeaseHolder(leases);
  const { server, close } = createDhcpDaemon(holder, options, { parse: parseDhcpCall, log });
  if (options.pidFile) writeFileSync(options.pidFile, String(process.pid));
  const passed = passedSocket();
  let owned = false;
  let adopting: Promise<void> | undefined;
  try {
    leases.restore();
    if (passed === undefined) {
      await listenOn(server, socketPath);
      owned = true;
    } else server.listen({ fd: passed });
    log.info({ socketPath: passed === undefined ? socketPath : 'passed by systemd' }, 'DHCP daemon is ready');
    sdNotify('READY=1', process.env['NOTIFY_SOCKET']);
    adopting = adoptLeases(holder, options, { log, signal });
    if (!signal.aborted) await once(signal, 'abort');
    sdNotify('STOPPING=1', process.env['NOTIFY_SOCKET']);
  } finally {
    close();
    await leases.close();
    await adopting;
    if (owned) rmSync(socketPath, { force: true });
    if (options.pidFile) rmSync(options.pidFile, { force: true });
  }
}

/** systemd's socket activation. @throws UserError for more than one socket. */
function passedSocket(): number | undefined {
  const { LISTEN_FDS, LISTEN_PID } = process.env;
  if (!LISTEN_FDS || LISTEN_FDS === '0' || LISTEN_PID !== String(process.pid)) return undefined;
  if (LISTEN_FDS !== '1') throw new UserError(`dhcp daemon: systemd passed ${LISTEN_FDS} sockets; it listens on one`);
  return FIRST_PASSED_FD;
}

/** A socket that nobody listens on any more is replaced; only root may use the new one. */
async function listenOn(server: Server, path: string): Promise<void> {
  makeDirectory(dirname(path), 0o700);
  if (statSync(path, { throwIfNoEntry: false })) {
    if (await answers(path)) throw new UserError(`dhcp daemon: another one listens on ${path}; stop it first`);
    rmSync(path, { force: true });
  }
  const before = process.umask(0o177);
  try {
    server.listen(path);
    await once(server, 'listening');
  } finally {
    process.umask(before);
  }
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(path);
    const settle = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', () => settle(true)).once('error', () => settle(false));
  });
}
