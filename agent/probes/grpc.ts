import { connect } from 'node:http2';
import { describeDial, hostPort, MAX_OUTPUT_BYTES, type ProbeOutcome } from './outcome.ts';

const STATUS_NAMES = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'];
const UNIMPLEMENTED = '12';
const DEADLINE_EXCEEDED = '4';

/** `grpc.health.v1.Health/Check` in plaintext; SERVING is success. One call with one field each way needs no gRPC library. */
export function probeGrpc(
  host: string,
  port: number,
  service: string,
  timeoutMs: number,
  userAgent: string,
): Promise<ProbeOutcome> {
  const address = hostPort(host, port);
  return new Promise((resolve) => {
    const session = connect(`http://${address}`);
    let connected = false;
    const finish = (result: ProbeOutcome['result'], output: string) => {
      clearTimeout(timer);
      session.destroy();
      resolve({ result, output });
    };
    const timer = setTimeout(
      () =>
        finish(
          'failure',
          connected
            ? `timeout: health rpc did not complete within ${timeoutMs / 1000}s`
            : `timeout: failed to connect service "${address}" within ${timeoutMs / 1000}s: context deadline exceeded`,
        ),
      timeoutMs,
    );
    const broken = (error: Error) => {
      // A call that was never sent hides why behind its own error.
      const said = describeDial(error.cause ?? error, address);
      const what = connected ? 'error: health rpc probe failed' : `error: failed to connect service at "${address}"`;
      finish('failure', `${what}: ${said}`);
    };
    session.on('error', broken);
    session.once('connect', () => {
      connected = true;
    });
    const call = session.request({
      ':method': 'POST',
      ':path': '/grpc.health.v1.Health/Check',
      'content-type': 'application/grpc',
      te: 'trailers',
      'user-agent': userAgent,
    });
    const chunks: Buffer[] = [];
    let length = 0;
    let httpStatus = '';
    let grpcStatus: string | undefined;
    let grpcMessage = '';
    const read = (headers: Record<string, unknown>) => {
      httpStatus ||= String(headers[':status'] ?? '');
      if (headers['grpc-status'] === undefined) return;
      grpcStatus = String(headers['grpc-status']);
      grpcMessage = percentDecode(String(headers['grpc-message'] ?? ''));
    };
    call.on('response', read);
    call.on('trailers', read);
    call.on('data', (chunk: Buffer) => {
      length += chunk.length;
      if (length <= MAX_OUTPUT_BYTES) chunks.push(chunk);
      else finish('failure', 'error: health rpc probe failed: the answer is too long');
    });
    call.on('error', broken);
    call.once('end', () => {
      if (grpcStatus === UNIMPLEMENTED)
        return finish(
          'failure',
          `error: this server does not implement the grpc health protocol (grpc.health.v1.Health): ${grpcMessage}`,
        );
      if (grpcStatus === DEADLINE_EXCEEDED)
        return finish('failure', `timeout: health rpc did not complete within ${timeoutMs / 1000}s`);
      if (grpcStatus === undefined)
        return finish(
          'failure',
          `error: health rpc probe failed: rpc error: code = Unknown desc = no grpc-status, HTTP status ${httpStatus}`,
        );
      if (grpcStatus !== '0')
        return finish(
          'failure',
          `error: health rpc probe failed: rpc error: code = ${grpcStatus} desc = ${grpcMessage}`,
        );
      const status = parseHealthResponse(Buffer.concat(chunks));
      if (status === 1) finish('success', 'service healthy');
      else finish('failure', `service unhealthy (responded with "${STATUS_NAMES[status] ?? status}")`);
    });
    call.end(frame(encodeHealthRequest(service)));
  });
}

/** As gRPC escapes its messages; what is no such escape stays. */
function percentDecode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** HealthCheckRequest { string service = 1; } */
export function encodeHealthRequest(service: string): Buffer {
  const name = Buffer.from(service);
  return name.length === 0 ? name : Buffer.concat([Buffer.from([0x0a]), varint(name.length), name]);
}

/** HealthCheckResponse { ServingStatus status = 1; } behind gRPC's five bytes of framing; 0 (UNKNOWN) when absent. */
export function parseHealthResponse(framed: Buffer): number {
  const message = framed.subarray(5);
  return message[0] === 0x08 ? (message[1] ?? 0) : 0;
}

function frame(message: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 0x7f; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  return Buffer.from([...bytes, rest]);
}
