import { GobError, uintOf, uintTail } from './bytes.ts';

/** Cuts a stream of bytes, as it comes, into the messages of gob: each after its length. */
export interface MessageSplitter {
  /** @returns the messages that are whole with this chunk. @throws GobError for one that is longer than allowed. */
  push(chunk: Uint8Array): Uint8Array[];
}

export function createMessageSplitter(messageBytes: number): MessageSplitter {
  // Joined only when there is a whole message, or something that may be a length.
  let waiting: Uint8Array[] = [];
  let waitingBytes = 0;
  let wantedBytes = 1;

  return {
    push(chunk) {
      waiting.push(chunk);
      waitingBytes += chunk.length;
      if (waitingBytes < wantedBytes) return [];
      const joined = waiting.length === 1 ? chunk : Buffer.concat(waiting);
      const messages: Uint8Array[] = [];
      let at = 0;
      for (;;) {
        const left = joined.length - at;
        const headBytes = left === 0 ? 1 : 1 + uintTail(joined[at]!);
        wantedBytes = headBytes;
        if (left < headBytes) break;
        const length = headBytes === 1 ? joined[at]! : uintOf(joined.subarray(at + 1, at + headBytes));
        if (length > messageBytes) throw new GobError(`a message of ${length} bytes, ${messageBytes} at most`);
        wantedBytes = headBytes + Number(length);
        if (left < wantedBytes) break;
        messages.push(joined.subarray(at + headBytes, at + wantedBytes));
        at += wantedBytes;
      }
      waiting = at < joined.length ? [joined.subarray(at)] : [];
      waitingBytes = joined.length - at;
      return messages;
    },
  };
}
