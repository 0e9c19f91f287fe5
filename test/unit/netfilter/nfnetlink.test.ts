import test from 'ava';
import { addressBytes, cidrBytes } from '../../../src/netfilter/nfnetlink/address.ts';
import { NftBatch } from '../../../src/netfilter/nfnetlink/batch.ts';
import { hasRules } from '../../../src/netfilter/nfnetlink/comparison.ts';
import { eachAttribute, MessageWriter, readMessages } from '../../../src/netfilter/nfnetlink/message.ts';
import type { Rule, Statement } from '../../../src/netfilter/nfnetlink/rule.ts';
import { encodeStatement } from '../../../src/netfilter/nfnetlink/rule-encoding.ts';
import { durationText, ruleText } from '../../../src/netfilter/nfnetlink/rule-text.ts';

test('a writer that begins small writes what one that begins large does', (t) => {
  const write = (initialBytes: number) => {
    const writer = new MessageWriter(initialBytes);
    for (let sequence = 0; sequence < 50; sequence++) {
      writer.begin(0x0a06, 5, sequence, 2, 7);
      writer.nest(4);
      writer.text(1, `name ${sequence}`);
      writer.u8(2, sequence);
      writer.u16(3, 443);
      writer.u32(4, -4);
      writer.u64(5, 10_800_000n);
      writer.bytes(6, Uint8Array.of(1, 2, 3, 4, 5));
      writer.unnest();
      writer.end();
    }
    return writer.finish();
  };
  // Every length of the first buffer makes another write the one that finds no room.
  const expected = write(1 << 16);
  for (let initialBytes = 16; initialBytes < 600; initialBytes += 4)
    if (!write(initialBytes).equals(expected)) t.fail(`beginning with ${initialBytes} bytes`);
  const messages = [...readMessages(expected)];
  t.is(messages.length, 50);
  const values: string[] = [];
  eachAttribute(messages[9]!.body, 4, (_type, nested) =>
    eachAttribute(nested, 0, (type, value) => values.push(`${type} ${value.toString('hex')}`)),
  );
  t.deepEqual(values, ['1 6e616d65203900', '2 09', '3 01bb', '4 fffffffc', '5 0000000000a4cb80', '6 0102030405']);
});

test('messages that are cut off are refused', (t) => {
  const writer = new MessageWriter();
  writer.begin(0x0a06, 0, 1, 2);
  writer.text(1, 'table');
  writer.end();
  const whole = writer.finish();
  t.is([...readMessages(whole)].length, 1);
  t.throws(() => [...readMessages(whole.subarray(0, whole.length - 4))], { instanceOf: RangeError });
});

test('addresses and blocks as bytes; what is none is refused', (t) => {
  t.deepEqual([...addressBytes('10.0.255.1')], [10, 0, 255, 1]);
  t.deepEqual([...addressBytes('fd00::1')].slice(0, 2), [0xfd, 0]);
  for (const wrong of ['', '1.2.3', '1.2.3.4.5', '1.2.3.256', '1..2.3', '1.2.3.', 'a.b.c.d', '1.2.3.4/8', 'fd00::g'])
    t.throws(() => addressBytes(wrong), undefined, wrong);
  const { address, mask, isWhole } = cidrBytes('10.255.255.255/12');
  t.deepEqual([[...address], [...mask], isWhole], [[10, 240, 0, 0], [255, 240, 0, 0], false]);
  t.true(cidrBytes('10.0.0.1').isWhole);
  t.deepEqual([...cidrBytes('fd00:1:2:3::/49').mask].slice(4, 8), [255, 255, 128, 0]);
});

test('long lists of elements are spread over messages whose lengths fit', (t) => {
  const batch = new NftBatch('ip', 'table');
  const set = { name: 'set', key: ['address', 'port'] } as const;
  const elements = Array.from({ length: 5000 }, (_, index) => ({ key: [`10.0.${index >> 8}.${index & 255}`, index] }));
  batch.addElements(set, elements);
  let count = 0;
  for (const { type, body } of readMessages(batch.finish().bytes)) {
    if (type !== 0x0a0c) continue;
    eachAttribute(body, 4, (attribute, list) => {
      if (attribute === 3) eachAttribute(list, 0, () => count++);
    });
    t.true(body.length < 65_536);
  }
  t.is(count, 5000);
});

test('a rule is the kernel’s only if every expression is, to the byte', (t) => {
  const encoded = (...statements: Statement[]) => {
    const writer = new MessageWriter(1024, { marksNested: false });
    for (const statement of statements) encodeStatement(writer, statement, 'ip');
    return writer.finish();
  };
  const accept: Statement = { kind: 'accept' };
  const from = (cidr: string, isNegated = false): Statement => ({ kind: 'address', field: 'saddr', cidr, isNegated });
  const rule = (...statements: Statement[]): Rule => ({ statements });
  const standing = [encoded(from('10.0.0.0/8'), accept)];
  t.true(hasRules(standing, [rule(from('10.0.0.0/8'), accept)], 'ip'));
  for (const other of [
    [],
    [rule(accept)],
    [rule(from('10.0.0.0/9'), accept)],
    [rule(from('11.0.0.0/8'), accept)],
    [rule(from('10.0.0.0/8', true), accept)],
    [rule(from('10.0.0.0/8'), { kind: 'drop' })],
    [rule(accept, from('10.0.0.0/8'))],
    [rule(from('10.0.0.0/8'), accept), rule(accept)],
  ])
    t.false(hasRules(standing, other, 'ip'), other.map((one) => ruleText(one, 'ip')).join());
  t.true(hasRules(undefined, [], 'ip'));
});

test('times as nft prints them', (t) => {
  t.deepEqual([0, 59, 60, 3600, 10_800, 86_399, 90_061].map(durationText), [
    '0s',
    '59s',
    '1m',
    '1h',
    '3h',
    '23h59m59s',
    '1d1h1m1s',
  ]);
});
