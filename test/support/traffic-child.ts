/**
 * What a person would try with nc: `serve PORT` echoes what comes by TCP and UDP and tells its callers their addresses, `ask JSON` sends
 * such requests, one after another, and prints the answers. Imports Node's own modules only: guests get it as a file.
 */
import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect, createServer, isIPv6 } from 'node:net';
import type { TrafficAnswer, TrafficRequest } from './traffic.ts';

/** Room for the caller's address at the beginning of an answer by UDP, which is as long as the question. */
const ADDRESS_BYTES = 64;

const [command, argument = ''] = process.argv.slice(2);
if (command === 'serve') serve(Number(argument));
else {
  const answers: TrafficAnswer[] = [];
  for (const request of JSON.parse(argument) as TrafficRequest[])
    answers.push(await (request.protocol === 'udp' ? askUdp(request) : askTcp(request)));
  process.stdout.write(`${JSON.stringify(answers)}\n`);
}

function plain(address = ''): string {
  return address.replace('::ffff:', '');
}

function serve(port: number): void {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {});
    socket.write(plain(socket.remoteAddress).padEnd(ADDRESS_BYTES));
    socket.pipe(socket);
  });
  server.listen(port, '::', () => {
    const socket = createSocket('udp6');
    socket.on('message', (data, from) => {
      data.write(plain(from.address).padEnd(ADDRESS_BYTES));
      socket.send(data, from.port, from.address, () => {});
    });
    socket.bind(port, '::', () => process.stdout.write('ready\n'));
  });
}

function read(answer: Buffer, sent: Buffer): TrafficAnswer {
  const from = answer.subarray(0, ADDRESS_BYTES).toString().trim();
  const same = answer.subarray(ADDRESS_BYTES).equals(sent);
  return same ? { from } : { from, error: `${answer.length - ADDRESS_BYTES} bytes came back of ${sent.length}` };
}

function askTcp({ host, port, bytes, timeoutMs = 5000 }: TrafficRequest): Promise<TrafficAnswer> {
  return new Promise((resolve) => {
    const sent = randomBytes(bytes);
    const chunks: Buffer[] = [];
    const socket = connect({ host, port });
    socket.setTimeout(timeoutMs, () => {
      resolve({ error: `TIMEOUT after ${Buffer.concat(chunks).length} bytes` });
      socket.destroy();
    });
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('end', () => resolve(read(Buffer.concat(chunks), sent)));
    socket.on('error', (error: NodeJS.ErrnoException) => resolve({ error: error.code ?? error.message }));
    socket.end(sent);
  });
}

function askUdp({ host, port, bytes, timeoutMs = 5000 }: TrafficRequest): Promise<TrafficAnswer> {
  return new Promise((resolve) => {
    const sent = randomBytes(bytes);
    const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4');
    const done = (answer: TrafficAnswer) => {
      clearTimeout(timer);
      socket.close();
      resolve(answer);
    };
    const timer = setTimeout(() => done({ error: 'TIMEOUT' }), timeoutMs);
    socket.on('message', (data) => done(read(data, sent.subarray(ADDRESS_BYTES))));
    // Connected, so that what routers say of a datagram is heard.
    socket.on('error', (error: NodeJS.ErrnoException) => done({ error: error.code ?? error.message }));
    socket.connect(port, host, () => socket.send(sent));
  });
}
