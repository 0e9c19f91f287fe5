import { closeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { formatMessage, parseMessages } from 'netlink/dist/structs.js';
import { errnoName, netlinkSocket, receiveNow, sendOnThread } from '../libc.ts';
import { inNetns } from '../netns.ts';
import { readI32 } from './attributes.ts';
import { NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR } from './constants.ts';
import { NetlinkError } from './errors.ts';

const ANSWER_LIMIT_BYTES = 4096;
/** Of the four threads of Node's pool, which files need too. The kernel carries out what is sent together about as fast as one alone. */
const SLOW_AT_ONCE = 3;
const DONE_POLL_MS = 1;
let slowUnderWay = 0;
const slowWaiting: (() => void)[] = [];

interface SlowRequest {
  protocol: number;
  netns: string | undefined;
  what: { operation: string; type: number; flags?: number; body: Uint8Array[] };
  isDone: ((fd: number) => boolean) | undefined;
}

/** Takes a seat for as long as the thread is busy, which may be longer than the caller waits: see `NetlinkSocket.requestSlow`. */
export async function sendSlow(slow: SlowRequest): Promise<void> {
  if (slowUnderWay >= SLOW_AT_ONCE) await new Promise<void>((resolve) => slowWaiting.push(resolve));
  else slowUnderWay++;
  const passOn = () => {
    const next = slowWaiting.shift();
    if (next) next();
    else slowUnderWay--;
  };
  let fd: number;
  try {
    fd = inNetns<number>(slow.netns, () => netlinkSocket(slow.protocol));
  } catch (error) {
    passOn();
    throw error;
  }
  const { isDone } = slow;
  // What was done before the request is none of its doing: the kernel's answer tells.
  const isTold = isDone !== undefined && !isDone(fd);
  let answered = false;
  const answer = sendOnThread(fd, encodeSlow(slow.what), slow.what.operation)
    .then(() => readAnswer(fd, slow.what.operation))
    .finally(() => {
      answered = true;
      closeSync(fd);
      passOn();
    });
  if (!isTold) return answer;
  const seenDone = (async () => {
    while (!answered && !isDone(fd)) await sleep(DONE_POLL_MS);
    if (answered) await answer;
  })();
  // Either may still fail when the other has told.
  for (const outcome of [answer, seenDone]) outcome.catch(() => {});
  return Promise.race([answer, seenDone]);
}

function encodeSlow({ type, flags = 0, body }: SlowRequest['what']): Buffer {
  return Buffer.concat(formatMessage({ type, flags: flags | NLM_F_REQUEST | NLM_F_ACK, seq: 1, port: 0, data: body }));
}

function readAnswer(fd: number, operation: string): void {
  const answer = parseMessages(receiveNow(fd, ANSWER_LIMIT_BYTES, operation)).find((one) => one.type === NLMSG_ERROR);
  const errno = answer ? -readI32(answer.data) : 0;
  if (errno > 0) throw new NetlinkError(operation, errnoName(errno));
}
