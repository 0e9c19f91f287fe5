/** Reads `generated.proto` files: the wire form, against which the facts of the Go tags are checked. */

/** One field of a message; `type` as written, `map<string, X>` included. */
export interface ProtoField {
  name: string;
  number: number;
  type: string;
  repeated: boolean;
}

export type ProtoMessages = Map<string, ProtoField[]>;

/** Parses the messages of one generated.proto (flat, proto2, no nested messages). */
export function parseProtoFile(text: string): ProtoMessages {
  const messages: ProtoMessages = new Map();
  for (const message of text.matchAll(/^message ([A-Za-z0-9_]+) \{\n([\s\S]*?)^\}/gm)) {
    const fields: ProtoField[] = [];
    for (const field of message[2]!.matchAll(
      /^\s*(optional |repeated )?(map<string, ?[^>]+>|[A-Za-z0-9_.]+) ([A-Za-z0-9_]+) = (\d+);/gm,
    )) {
      fields.push({ name: field[3]!, number: Number(field[4]), type: field[2]!, repeated: field[1] === 'repeated ' });
    }
    messages.set(message[1]!, fields);
  }
  return messages;
}
