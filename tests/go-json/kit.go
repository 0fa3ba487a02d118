// Messages of any schema, made by the names of its fields; and the edges of every kind of value.

package main

import (
	"bytes"
	"log"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// kit makes the fields of one message.
type kit struct{ protoreflect.MessageDescriptor }

// raw is a varint that stands on the wire as it is, whatever the field's kind.
type raw uint64

func (k kit) named(name string) protoreflect.FieldDescriptor {
	field := k.Fields().ByName(protoreflect.Name(name))
	if field == nil {
		log.Fatalf("%s has no field %q", k.FullName(), name)
	}
	return field
}

// of is the kit of the messages that a field holds.
func (k kit) of(name string) kit { return kit{k.named(name).Message()} }

// put gives a field as often as there are values. A message's value is its bytes.
func (k kit) put(name string, values ...any) []byte {
	field := k.named(name)
	var out []byte
	for _, value := range values {
		out = protowire.AppendTag(out, field.Number(), wireType(field.Kind()))
		out = append(out, scalar(field.Kind(), value)...)
	}
	return out
}

// pack gives a repeated field in one piece.
func (k kit) pack(name string, values ...any) []byte {
	field := k.named(name)
	var inside []byte
	for _, value := range values {
		inside = append(inside, scalar(field.Kind(), value)...)
	}
	return message(field.Number(), inside)
}

// entry gives one of a map.
func (k kit) entry(name string, key, value any) []byte {
	return k.pair(name, k.of(name).put("key", key), k.of(name).put("value", value))
}

// pair gives a map's entry of these pieces.
func (k kit) pair(name string, parts ...[]byte) []byte {
	return message(k.named(name).Number(), parts...)
}

// as gives a field in a wire type that need not be its own.
func (k kit) as(name string, wire protowire.Type) []byte {
	number := k.named(name).Number()
	switch wire {
	case protowire.VarintType:
		return varint(number, 1)
	case protowire.Fixed64Type:
		return double(number, 1)
	case protowire.Fixed32Type:
		return float(number, 1)
	case protowire.StartGroupType:
		return group(number, varint(1, 1))
	default:
		return chars(number, "")
	}
}

var wireTypes = map[protowire.Type]string{
	protowire.VarintType: "a varint", protowire.Fixed64Type: "fixed64", protowire.BytesType: "bytes",
	protowire.StartGroupType: "a group", protowire.Fixed32Type: "fixed32",
}

func wireType(kind protoreflect.Kind) protowire.Type {
	switch kind {
	case protoreflect.DoubleKind, protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind:
		return protowire.Fixed64Type
	case protoreflect.FloatKind, protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind:
		return protowire.Fixed32Type
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		return protowire.BytesType
	default:
		return protowire.VarintType
	}
}

// scalar is a value without its tag.
func scalar(kind protoreflect.Kind, value any) []byte {
	if value, ok := value.(raw); ok {
		return protowire.AppendVarint(nil, uint64(value))
	}
	switch kind {
	case protoreflect.DoubleKind:
		return protowire.AppendFixed64(nil, math.Float64bits(real64(value)))
	case protoreflect.FloatKind:
		return protowire.AppendFixed32(nil, math.Float32bits(float32(real64(value))))
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind:
		return protowire.AppendFixed64(nil, whole(value))
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind:
		return protowire.AppendFixed32(nil, uint32(whole(value)))
	case protoreflect.Sint32Kind, protoreflect.Sint64Kind:
		return protowire.AppendVarint(nil, protowire.EncodeZigZag(int64(whole(value))))
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		if text, ok := value.(string); ok {
			return protowire.AppendString(nil, text)
		}
		return protowire.AppendBytes(nil, value.([]byte))
	default:
		return protowire.AppendVarint(nil, whole(value))
	}
}

func real64(value any) float64 {
	if value, ok := value.(int); ok {
		return float64(value)
	}
	return value.(float64)
}

func whole(value any) uint64 {
	switch value := value.(type) {
	case int:
		return uint64(value)
	case uint64:
		return value
	case bool:
		if value {
			return 1
		}
		return 0
	default:
		log.Fatalf("%v is no whole number", value)
		return 0
	}
}

// edges are the values of a kind at which a reader may go wrong. The first is what an unset field
// reads as, where the schema names no other; the last can be told from it.
func edges(field protoreflect.FieldDescriptor) []any {
	switch field.Kind() {
	case protoreflect.DoubleKind:
		return []any{0.0, math.Copysign(0, -1), 0.1, -1e-7, 1e21, math.SmallestNonzeroFloat64,
			math.MaxFloat64, math.NaN(), math.Inf(1), math.Inf(-1), 12.5}
	case protoreflect.FloatKind:
		return []any{0.0, math.Copysign(0, -1), 0.1, -1e-7, 1e21, math.SmallestNonzeroFloat32,
			math.MaxFloat32, math.NaN(), math.Inf(1), math.Inf(-1), 12.5}
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return []any{0, 1, math.MaxInt32, math.MinInt32, -1}
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return []any{0, 1<<53 + 1, math.MaxInt64, math.MinInt64, -1}
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return []any{0, 127, 128, 1 << 31, math.MaxUint32}
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return []any{0, 1<<53 + 1, uint64(1 << 63), uint64(math.MaxUint64)}
	case protoreflect.BoolKind:
		return []any{false, true}
	case protoreflect.StringKind:
		return []any{"", "\x00", "a<\"é🚌\u2028", "z"}
	case protoreflect.BytesKind:
		return []any{"", "\x00", "\xfb\xff\xfe", "\x80a\n<", "12345"}
	case protoreflect.EnumKind:
		values := field.Enum().Values()
		all := []any{int(values.Get(0).Number())}
		for i := range values.Len() {
			all = append(all, int(values.Get(i).Number()))
		}
		return append(all, -2, 5)
	default:
		return []any{[]byte{}, varint(1, 5)}
	}
}

// strays are varints that no careful writer gives for this kind, because they have more bits than it.
func strays(kind protoreflect.Kind) []any {
	switch kind {
	case protoreflect.Int32Kind, protoreflect.Uint32Kind, protoreflect.EnumKind:
		return []any{raw(1 << 32), raw(1<<32 + 1), raw(1<<32 - 1), raw(1 << 63), raw(math.MaxUint64)}
	case protoreflect.Sint32Kind:
		return []any{raw(1 << 32), raw(1<<32 + 1), raw(1<<32 - 1), raw(math.MaxUint64)}
	case protoreflect.BoolKind:
		return []any{raw(2), raw(1 << 32), raw(1 << 63), raw(math.MaxUint64)}
	default:
		return nil
	}
}

func isPackable(field protoreflect.FieldDescriptor) bool {
	return wireType(field.Kind()) != protowire.BytesType
}

// cut gives the beginnings of a message, each a case.
func cut(add adder, what string, whole []byte) {
	for length := 1; length < len(whole); length++ {
		add(what+", cut off after "+count(length, "byte"), bytes.Clone(whole[:length]))
	}
}
