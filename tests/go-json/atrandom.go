// Valid messages of any schema, at random but the same in each run, their fields in any order.

package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// random makes messages whose fields are set with some likelihood.
type random struct {
	*rand.Rand
	likelihood float64
}

// atRandom gives so many messages.
func atRandom(k kit, seed uint64, count int, likelihood float64) []testCase {
	rng := random{rand.New(rand.NewPCG(seed, 2024)), likelihood}
	var all []testCase
	for i := range count {
		all = append(all, testCase{fmt.Sprintf("random %d", i), rng.message(k, 0)})
	}
	return all
}

func (rng random) message(k kit, depth int) []byte {
	switch k.FullName() {
	case "google.protobuf.Timestamp":
		seconds := rng.Int64N(253_402_300_800+62_135_596_800) - 62_135_596_800
		return join(varint(1, uint64(seconds)), varint(2, uint64(rng.nanos())))
	case "google.protobuf.Duration":
		sign := int64(rng.IntN(2)*2 - 1)
		seconds := rng.Int64N(315_576_000_001) >> rng.IntN(30)
		return join(varint(1, uint64(sign*seconds)), varint(2, uint64(sign*rng.nanos())))
	case "google.protobuf.Any":
		return join(k.put("type_url", "type.googleapis.com/google.protobuf.Duration"), k.put("value", varint(1, 5)))
	case "google.protobuf.Value":
		switch rng.IntN(5) {
		case 0:
			return k.put("null_value", 0)
		case 1:
			return k.put("number_value", float64(rng.IntN(100_000))/100)
		case 2:
			return k.put("string_value", rng.text())
		case 3:
			return k.put("bool_value", rng.IntN(2) == 0)
		}
		if depth > 4 {
			return k.put("bool_value", true)
		}
		name := []string{"struct_value", "list_value"}[rng.IntN(2)]
		return k.put(name, rng.message(k.of(name), depth+1))
	}
	likelihood := rng.likelihood
	if k.ParentFile().Package() == "google.protobuf" {
		likelihood = 1
	}
	var parts [][]byte
	fields := k.Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		required := field.Cardinality() == protoreflect.Required
		tooDeep := depth > 4 && field.Message() != nil
		// Of a FieldMask the two libraries make different JSON.
		mask := strings.Contains(string(field.Name()), "mask")
		if !required && (tooDeep || mask || rng.Float64() > likelihood) {
			continue
		}
		parts = append(parts, rng.field(k, field, depth)...)
	}
	rng.Shuffle(len(parts), func(a, b int) { parts[a], parts[b] = parts[b], parts[a] })
	return join(parts...)
}

func (rng random) field(k kit, field protoreflect.FieldDescriptor, depth int) [][]byte {
	name := string(field.Name())
	var parts [][]byte
	switch {
	case field.IsMap():
		for range rng.IntN(4) {
			key, value := rng.value(field.MapKey(), depth), rng.value(field.MapValue(), depth)
			parts = append(parts, k.entry(name, key, value))
		}
	case field.IsList():
		for range rng.IntN(4) {
			parts = append(parts, k.put(name, rng.value(field, depth)))
		}
		if isPackable(field) && rng.IntN(2) == 0 {
			parts = append(parts, k.pack(name, rng.value(field, depth), rng.value(field, depth)))
		}
	default:
		parts = append(parts, k.put(name, rng.value(field, depth)))
	}
	return parts
}

func (rng random) value(field protoreflect.FieldDescriptor, depth int) any {
	switch kind := field.Kind(); kind {
	case protoreflect.MessageKind:
		return rng.message(kit{field.Message()}, depth+1)
	case protoreflect.StringKind:
		return rng.text()
	case protoreflect.BytesKind:
		return rng.text()
	case protoreflect.DoubleKind:
		return math.Float64frombits(rng.Uint64())
	case protoreflect.FloatKind:
		return float64(math.Float32frombits(rng.Uint32() >> 1))
	case protoreflect.BoolKind:
		return rng.IntN(2) == 0
	case protoreflect.EnumKind:
		values := field.Enum().Values()
		return int(values.Get(rng.IntN(values.Len())).Number())
	case protoreflect.Int32Kind, protoreflect.Sint32Kind:
		return int(int32(rng.Uint32()) >> rng.IntN(32))
	default:
		// Small ones too, so that every length of a varint is there.
		return rng.Uint64() >> rng.IntN(64)
	}
}

// nanos have 0, 3, 6 or 9 digits.
func (rng random) nanos() int64 {
	return []int64{0, 1_000_000, 1_000, 1}[rng.IntN(4)] * rng.Int64N(1_000)
}

// text is mostly a plain one: the built-in schema's messages have the others.
func (rng random) text() string {
	var text strings.Builder
	for range rng.IntN(4) {
		if rng.IntN(10) == 0 {
			text.WriteString(texts[rng.IntN(len(texts))])
		} else {
			text.WriteString([]string{"bus-17", "München", "北京", "", "x", " "}[rng.IntN(6)])
		}
	}
	return text.String()
}
