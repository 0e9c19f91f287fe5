import test from 'ava';
import { ExactNumber, parseJson } from '../../../../src/kube/schema/json-parse.ts';

test('agrees with JSON.parse', (t) => {
  const texts = [
    '{"a":[1,-2.5e3,true,false,null,"x"],"b":{"":{}},"c":[]}',
    ' \n\t[ 1 , 2 ] ',
    '"\\u00e9\\n\\"\\\\\\/\\ud83d\\ude00 ü\u007f"',
    '0',
    '-0',
    '1E+2',
    '{"a":1,"a":{"b":2}}',
  ];
  for (const text of texts) t.deepEqual(parseJson(text).value, JSON.parse(text), text);
});

test('refuses what JSON.parse refuses, in the words of Go', (t) => {
  const cases: [string, string][] = [
    ['', 'unexpected end of JSON input'],
    ['{"a":}', "invalid character '}' looking for beginning of value"],
    ['{a:1}', "invalid character 'a' looking for beginning of object key string"],
    ['{"a" 1}', "invalid character '1' after object key"],
    ['{"a":1 "b":2}', "invalid character '\"' after object key:value pair"],
    ['[1 2]', "invalid character '2' after array element"],
    ['[1,]', "invalid character ']' looking for beginning of value"],
    ['{"a":1}x', "invalid character 'x' after top-level value"],
    ['"a\nb"', "invalid character '\\n' in string literal"],
    ['"\\q"', "invalid character 'q' in string escape code"],
    ['"\\u00g0"', "invalid character '0' in \\u hexadecimal character escape"],
    ['trux', "invalid character 'x' in literal true (expecting 'e')"],
    ['01', "invalid character '1' after top-level value"],
    ['[[', 'unexpected end of JSON input'],
  ];
  for (const [text, message] of cases) {
    t.throws(() => JSON.parse(text) as unknown);
    t.throws(() => parseJson(text), { name: 'DecodeError', message }, text);
  }
  t.throws(() => parseJson('['.repeat(5000)), { message: /nested deeper/ });
});

test('numbers that a double cannot hold keep their text on request', (t) => {
  const text = '[9007199254740993,9007199254740991,0.1,0.30000000000000004]';
  const exact = parseJson(text, { exactNumbers: true }).value as unknown[];
  t.deepEqual(
    exact.map((value) => (value instanceof ExactNumber ? value.text : value)),
    ['9007199254740993', 9007199254740991, 0.1, '0.30000000000000004'],
  );
  t.deepEqual(parseJson(text).value, JSON.parse(text));
});
