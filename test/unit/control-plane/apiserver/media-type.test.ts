import test from 'ava';
import { bodyEncoding, negotiateOutput, parseAccept } from '../../../../control-plane/apiserver/media-type.ts';

const show = (header: string | undefined, shapes = true) => {
  const format = negotiateOutput(header, shapes);
  return format && `${format.encoding} ${format.shape}${format.shape === 'object' ? '' : ` ${format.metaVersion}`}`;
};

const TABLE =
  'application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json';

test('what clients send', (t) => {
  t.is(show(undefined), 'json object');
  t.is(show('*/*'), 'json object');
  t.is(show('application/json, */*'), 'json object');
  t.is(show('application/vnd.kubernetes.protobuf,application/json'), 'json object');
  t.is(show('application/vnd.kubernetes.protobuf, */*'), 'json object');
  t.is(show('application/yaml'), 'yaml object');
  t.is(show('text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8'), 'json object');
  t.is(show(TABLE), 'json table v1');
  t.is(show('application/json;as=Table;v=v1beta1;g=meta.k8s.io'), 'json table v1beta1');
  t.is(show('application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1'), 'json metadataList v1');
  t.is(show('application/json;as="PartialObjectMetadata";g=meta.k8s.io;v=v1'), 'json metadata v1');
});

test('what cannot be served is passed over, then refused', (t) => {
  t.is(show(TABLE, false), 'json object');
  t.is(show('application/json;as=Table;v=v1;g=meta.k8s.io', false), undefined);
  t.is(show('application/json;as=Table;v=v2;g=meta.k8s.io'), undefined);
  t.is(show('application/json;as=Chair;v=v1;g=meta.k8s.io'), undefined);
  t.is(show('application/vnd.kubernetes.protobuf'), undefined);
  t.is(show('application/json;q=0'), undefined);
});

test('q orders, ties keep their order', (t) => {
  t.deepEqual(
    parseAccept('a/a;q=0.1, b/b, c/c;q=0.5, d/d').map(({ type }) => type),
    ['b/b', 'd/d', 'c/c', 'a/a'],
  );
});

test('bodies', (t) => {
  t.is(bodyEncoding(undefined), 'json');
  t.is(bodyEncoding('application/json; charset=utf-8'), 'json');
  t.is(bodyEncoding('application/yaml'), 'yaml');
  t.is(bodyEncoding('application/vnd.kubernetes.protobuf'), 'protobuf');
  t.is(bodyEncoding('application/cbor'), undefined);
});
