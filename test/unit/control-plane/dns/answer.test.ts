import test from 'ava';
import { encodeAnswer, encodeBareError, udpLimitBytes } from '../../../../control-plane/dns/answer.ts';
import { encodeRecord } from '../../../../control-plane/dns/records.ts';
import { answersOf, decoded, parsed, question } from '../../../support/dns.ts';

const address = (last: number) => encodeRecord({ type: 'A', data: `10.0.0.${last}`, ttlSeconds: 30 });
const body = (count: number) => ({
  rcode: 0,
  authoritative: true,
  answers: Array.from({ length: count }, (_, index) => address(index)),
  authority: [],
  additional: [],
  rotates: true,
});

test('the question goes back byte for byte, with id and flags', (t) => {
  const query = question('WeB.ExAmPle', 'A', { id: 99 });
  const answer = encodeAnswer(parsed(query), body(1), 512);
  t.deepEqual(answer.subarray(12, query.length), query.subarray(12));
  t.like(decoded(answer), { id: 99, type: 'response', flag_aa: true, flag_rd: true, flag_ra: true, flag_tc: false });
  const plain = encodeAnswer(parsed(question('a', 'A', { recursionDesired: false })), body(1), 512);
  t.false(decoded(plain).flag_rd);
});

test('answers take turns to come first', (t) => {
  const query = parsed(question('web.example', 'A'));
  const first = [0, 1, 2, 3].map((turn) => answersOf(encodeAnswer(query, body(3), 512, turn))[0]);
  t.deepEqual(
    first,
    [0, 1, 2, 0].map((last) => `web.example A 10.0.0.${last}`),
  );
});

test('what does not fit is cut at a record, with the flag', (t) => {
  const query = parsed(question('web.example', 'A'));
  const answer = encodeAnswer(query, body(100), 512);
  t.true(answer.length <= 512 && answer.length > 512 - 16);
  t.true(decoded(answer).flag_tc);
  t.is(answersOf(answer).length, 30);
  const whole = encodeAnswer(query, body(100), 65_535);
  t.false(decoded(whole).flag_tc);
  t.is(answersOf(whole).length, 100);
});

test('additional records go before answers do', (t) => {
  const query = parsed(question('web.example', 'A'));
  const answer = encodeAnswer(query, { ...body(25), additional: [...body(10).answers] }, 512);
  t.like(decoded(answer), { flag_tc: false });
  t.is(answersOf(answer).length, 25);
  t.is(decoded(answer).additionals?.length, 0);
});

test('with EDNS: our size, the room that the client has, and the record within it', (t) => {
  const query = parsed(question('web.example', 'A', { udpBytes: 600 }));
  t.is(udpLimitBytes(query), 600);
  const answer = encodeAnswer(query, body(100), udpLimitBytes(query));
  t.true(answer.length <= 600);
  t.like(decoded(answer).additionals?.[0], { type: 'OPT', udpPayloadSize: 1232 });
  t.is(udpLimitBytes(parsed(question('a', 'A', { udpBytes: 65_535 }))), 1232);
  t.is(udpLimitBytes(parsed(question('a', 'A', { udpBytes: 1 }))), 512);
  t.is(udpLimitBytes(parsed(question('a', 'A'))), 512);
});

test('an extended rcode is split over header and EDNS', (t) => {
  const query = parsed(question('a', 'A', { udpBytes: 1232 }));
  const answer = encodeAnswer(query, { ...body(0), rcode: 16 }, 512);
  t.is(answer[3]! & 0xf, 0);
  t.like(decoded(answer).additionals?.[0], { extendedRcode: 1 });
});

test('an error without a question', (t) => {
  const answer = encodeBareError(question('a', 'A', { id: 5 }), 1);
  t.is(answer.length, 12);
  t.like(decoded(answer), { id: 5, rcode: 'FORMERR', type: 'response' });
});
