import test from 'ava';
import { parseGoFile, parseRegistrations } from '../../../../src/kube/schema/generate/go-source.ts';
import { parseProtoFile } from '../../../../src/kube/schema/generate/proto-source.ts';

const source = `/* licence with type Fake struct {
*/
package v1

import (
	"k8s.io/apimachinery/pkg/types"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// +genclient
// +genclient:nonNamespaced

// Thing is a thing.
type Thing struct {
	metav1.TypeMeta \`json:",inline"\`

	// detached
	// +optional

	// Ports of it.
	// +listType=map
	// +listMapKey=port
	// +listMapKey=protocol
	Ports []Port \`json:"ports,omitempty" patchStrategy:"merge" patchMergeKey:"port" protobuf:"bytes,1,rep,name=ports"\`
	// Gone []string \`json:"gone"\`
	UID *types.UID \`json:"uid" protobuf:"bytes,2,opt,name=uid"\` // trailing
}

// +enum
type Phase string

type Alias = metav1.Thing
type Empty struct{}
type Func func() error

const (
	// PhaseA is one.
	PhaseA Phase = "A"
	PhaseB       = Phase("B") // trailing
	PhaseC       = Phase(metav1.PhaseC)
	untyped      = "x"
)

const Alone Phase = "D"

func (t Thing) String() string {
	return "type Inner struct {"
}
`;

test('Go types, fields, tags, markers', (t) => {
  const file = parseGoFile(source);
  t.deepEqual(file.imports, { types: 'k8s.io/apimachinery/pkg/types', metav1: 'k8s.io/apimachinery/pkg/apis/meta/v1' });
  t.deepEqual(
    file.types.map(({ name }) => name),
    ['Thing', 'Phase', 'Alias', 'Empty'],
  );
  const [thing, phase, alias, empty] = file.types;
  t.deepEqual(thing!.markers, { genclient: [''], 'genclient:nonNamespaced': [''] });
  t.deepEqual(
    thing!.fields!.map(({ name, type, embedded }) => [name, type, embedded]),
    [
      ['TypeMeta', 'metav1.TypeMeta', true],
      ['Ports', '[]Port', false],
      ['UID', '*types.UID', false],
    ],
  );
  t.deepEqual(thing!.fields![1]!.markers, { listType: ['map'], listMapKey: ['port', 'protocol'] });
  t.is(thing!.fields![1]!.tags['patchMergeKey'], 'port');
  t.deepEqual([phase!.underlying, 'enum' in phase!.markers], ['string', true]);
  t.is(alias!.underlying, 'metav1.Thing');
  t.deepEqual(empty!.fields, []);
});

test('Go constants in all their forms', (t) => {
  t.deepEqual(parseGoFile(source).constants, [
    { name: 'PhaseA', type: 'Phase', value: 'A' },
    { name: 'PhaseB', type: 'Phase', value: 'B' },
    { name: 'PhaseC', type: 'Phase', value: { reference: 'metav1.PhaseC' } },
    { name: 'Alone', type: 'Phase', value: 'D' },
  ]);
});

test('registrations', (t) => {
  const text =
    'scheme.AddKnownTypes(SchemeGroupVersion,\n\t\t&Pod{},\n\t\t&PodList{},\n\t)\nscheme.AddKnownTypes(\n\t\tSchemeGroupVersion,\n\t\t&metav1.Status{})';
  t.deepEqual(parseRegistrations(text), ['Pod', 'PodList', 'metav1.Status']);
});

test('protobuf messages', (t) => {
  const messages = parseProtoFile(
    '// x\nmessage Verbs {\n  // items\n\n  repeated string items = 1;\n}\n\nmessage A {\n  map<string, .k8s.Quantity> hard = 3;\n  optional int32 n = 12;\n}\n',
  );
  t.deepEqual(messages.get('Verbs'), [{ name: 'items', number: 1, type: 'string', repeated: true }]);
  t.deepEqual(
    messages.get('A')!.map(({ name, number }) => [name, number]),
    [
      ['hard', 3],
      ['n', 12],
    ],
  );
});
