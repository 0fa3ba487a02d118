// Messages of known.proto: the well-known types at the edges of what their JSON can say.

package main

import (
	"fmt"
	"math"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// twoNumbers is a Timestamp or a Duration.
func twoNumbers(seconds int64, nanos int64) []byte {
	return join(varint(1, uint64(seconds)), varint(2, uint64(nanos)))
}

func known(descriptor protoreflect.MessageDescriptor) []testCase {
	k := kit{descriptor}
	all := []testCase{}
	add := collector(&all)
	for _, t := range times {
		add(fmt.Sprintf("time %d s %d ns", t.seconds, t.nanos), k.put("time", twoNumbers(t.seconds, int64(t.nanos))))
	}
	durations(k, add)
	wrappers(k, add)
	values(k, add)
	masks(k, add)
	anys(k, add)
	places(k, add)
	return append(all, atRandom(k, 4, 40, 0.2)...)
}

func durations(k kit, add adder) {
	const most = 315_576_000_000
	for _, d := range [][2]int64{
		{0, 0}, {1, 0}, {-1, 0}, {0, 1}, {0, -1}, {0, 1_000}, {0, -1_000_000}, {0, 500_000_000}, {0, -500_000_000},
		{3, 500_000_000}, {-3, -500_000_000}, {1, 999_999_999}, {-1, -999_999_999}, {0, 999_999_999}, {12, 340_000_000},
		{1, -1}, {-1, 1}, {0, 1_000_000_000}, {0, -1_000_000_000}, {5, 1_000_000_000}, {0, math.MaxInt32}, {0, math.MinInt32},
		{most, 0}, {-most, 0}, {most, 999_999_999}, {-most, -999_999_999}, {most + 1, 0}, {-most - 1, 0},
		{math.MaxInt64, 0}, {math.MinInt64, 0}, {math.MinInt64, -1},
	} {
		add(fmt.Sprintf("duration %d s %d ns", d[0], d[1]), k.put("duration", twoNumbers(d[0], d[1])))
	}
	add("duration empty", k.put("duration", ""))
	add("duration in two pieces", k.put("duration", varint(2, 5), varint(1, 7)))
	add("duration, a piece that does not fit", k.put("duration", varint(1, 7), varint(2, uint64(math.MaxUint64))))
	add("time empty", k.put("time", ""))
	add("time in two pieces", k.put("time", varint(2, 5), varint(1, 7)))
	add("time, impossible at first", k.put("time", varint(2, math.MaxInt32), varint(2, 7)))
	add("time with unknown fields", k.put("time", join(varint(3, 5), varint(1, 7), group(4))))
	add("time, nanos of 64 bits", k.put("time", varint(2, 1<<32+5)))
	add("time, seconds as fixed64", k.put("time", double(1, 7)))
	add("time, cut off inside", k.put("time", []byte{0x08}))
	add("time, impossible in a list", k.put("times", twoNumbers(1, 0), twoNumbers(0, -1)))
	add("time, impossible in a choice that is overridden", k.put("one_time", twoNumbers(0, -1)), k.put("one_empty", ""))
	add("time, impossible in a map, replaced", k.entry("time_by_name", "k", twoNumbers(0, -1)), k.entry("time_by_name", "k", twoNumbers(0, 1)))
	add("time, impossible inside", k.put("inner", k.put("time", twoNumbers(0, -1))))
}

func wrappers(k kit, add adder) {
	for _, kind := range []string{"double", "float", "int64", "uint64", "int32", "uint32", "bool", "string", "bytes"} {
		one := k.of(kind + "_value")
		field := one.named("value")
		add(kind+"_value empty", k.put(kind+"_value", ""))
		var list, entries [][]byte
		for i, value := range append(edges(field), strays(field.Kind())...) {
			list = append(list, k.put(kind+"_values", one.put("value", value)))
			entries = append(entries, k.entry(kind+"_value_by_name", fmt.Sprintf("%02d", i), one.put("value", value)))
		}
		values := edges(field)
		add(kind+"_value", k.put(kind+"_value", one.put("value", values[len(values)-1])))
		add(kind+"_value, its default", k.put(kind+"_value", one.put("value", values[0])))
		add(kind+"_value, set back", k.put(kind+"_value", one.put("value", values[1], values[0])))
		add(kind+"_value in two pieces", k.put(kind+"_value", one.put("value", values[1]), ""))
		add(kind+"_value with unknown fields", k.put(kind+"_value", join(varint(2, 1), one.put("value", values[1]))))
		add(kind+"_value in another wire type", k.put(kind+"_value", one.as("value", otherThan(field))))
		add(kind+"_values", append(list, k.put(kind+"_values", ""))...)
		add(kind+"_values by name", append(entries, k.pair(kind+"_value_by_name"))...)
		add(kind+"_value, chosen", k.put("one_"+kind+"_value", ""))
	}
	add("string_value, bad text", k.put("string_value", k.of("string_value").put("value", "\xff")))
}

func values(k kit, add adder) {
	value, list, object := k.of("value"), k.of("list"), k.of("struct")
	number := func(number float64) []byte { return value.put("number_value", number) }
	for _, n := range []float64{0, math.Copysign(0, -1), 0.1, 1 << 53, 1e21, 1e-7, -12.5, math.MaxFloat64, math.NaN(), math.Inf(1), math.Inf(-1)} {
		add(fmt.Sprintf("value %v", n), k.put("value", number(n)))
	}
	add("value null", k.put("value", value.put("null_value", 0)))
	add("value null, another number", k.put("value", value.put("null_value", 7)))
	add("value null, a stray number", k.put("value", value.put("null_value", raw(1<<32))))
	add("value text", k.put("value", value.put("string_value", "a<\"\u2028")))
	add("value, text empty", k.put("value", value.put("string_value", "")))
	add("value, bad text", k.put("value", value.put("string_value", "\xff")))
	add("value true", k.put("value", value.put("bool_value", true)))
	add("value false", k.put("value", value.put("bool_value", false)))
	add("value, an empty object", k.put("value", value.put("struct_value", "")))
	add("value, an empty list", k.put("value", value.put("list_value", "")))
	add("value, an empty value inside", k.put("value", value.put("list_value", list.put("values", ""))))
	add("value without a kind", k.put("value", ""))
	add("value without a known kind", k.put("value", varint(9, 1)))
	add("value, its last kind", k.put("value", join(value.put("bool_value", true), number(1), value.put("string_value", "s"))))
	add("value in pieces", k.put("value", value.put("list_value", list.put("values", number(1))), value.put("list_value", list.put("values", number(2)))))
	add("value in pieces, objects", k.put("value",
		value.put("struct_value", object.entry("fields", "b", number(1))),
		value.put("struct_value", object.entry("fields", "a", number(2))),
		value.put("struct_value", object.entry("fields", "b", value.put("bool_value", true)))))
	add("value in pieces, another between", k.put("value",
		value.put("list_value", list.put("values", number(1))), number(1), value.put("list_value", list.put("values", number(2)))))
	add("value NaN, overridden", k.put("value", join(number(math.NaN()), value.put("bool_value", true))))
	add("value, number as a varint", k.put("value", varint(2, 1)))
	add("value, null as text", k.put("value", chars(1, "")))
	add("values", k.put("values", number(1), value.put("null_value", 0), value.put("string_value", "s")))
	add("values, one without a kind", k.put("values", number(1), ""))
	add("value by name, missing", k.pair("value_by_name", k.of("value_by_name").put("key", "k")))
	add("object empty", k.put("struct", ""))
	add("object, its names sorted", k.put("struct", join(
		object.entry("fields", "b", number(1)), object.entry("fields", "10", number(2)), object.entry("fields", "9", number(3)),
		object.entry("fields", "", number(4)), object.entry("fields", "é", number(5)), object.entry("fields", "a<", number(6)),
		object.entry("fields", "b", number(7)))))
	add("object, a value missing", k.put("struct", object.pair("fields", object.of("fields").put("key", "k"))))
	add("object, a name missing", k.put("struct", object.pair("fields", object.of("fields").put("value", number(1)))))
	add("object, an entry empty", k.put("struct", object.pair("fields")))
	add("object, NaN inside", k.put("struct", object.entry("fields", "k", number(math.NaN()))))
	add("object, bad text as a name", k.put("struct", object.entry("fields", "\xff", number(1))))
	add("object as a map's", k.entry("struct_by_name", "k", object.entry("fields", "l", number(1))))
	add("list empty", k.put("list", ""))
	add("list", k.put("list", join(list.put("values", number(1)), list.put("values", value.put("list_value", "")))))
	add("list with unknown fields", k.put("list", join(varint(2, 1), list.put("values", number(1)))))
	for _, levels := range []int{5, 24, 31, 32, 33, 48, 49, 50} {
		inside := number(1)
		for range levels {
			inside = value.put("list_value", list.put("values", inside))
		}
		add(fmt.Sprintf("lists, %d deep", levels), k.put("value", inside))
		inside = number(1)
		for range levels {
			inside = value.put("struct_value", object.entry("fields", "k", inside))
		}
		add(fmt.Sprintf("objects, %d deep", levels), k.put("value", inside))
	}
}

func masks(k kit, add adder) {
	for _, path := range []string{
		"a", "a_b", "a_b.c_d", "a.b.c", "", ".", "a.", ".a", "a..b", "_a", "a_", "a__b", "a_1", "a1", "1a", "aB", "A", "A_b", "a b", "a,b",
		"a-b", "é", "a_é", "*", "a\"b", "a<b", "foo_bar_baz", "a_b1_c", "_", "a.b_c.1",
	} {
		add(fmt.Sprintf("mask %q", path), k.put("mask", k.of("mask").put("paths", path)))
	}
	paths := func(paths ...any) []byte { return k.of("mask").put("paths", paths...) }
	add("mask empty", k.put("mask", ""))
	add("mask of three", k.put("mask", paths("trip_id", "vehicle.kind", "b")))
	add("mask of three, the last bad", k.put("mask", paths("trip_id", "vehicle.kind", "aB")))
	add("mask of two that are empty", k.put("mask", paths("", "")))
	add("mask in pieces", k.put("mask", paths("b"), paths("a")))
	add("mask, bad text", k.put("mask", paths("\xff")))
	add("masks", k.put("masks", paths("a_b"), ""))
	add("mask, chosen", k.put("one_mask", paths("a_b")))
}

func anys(k kit, add adder) {
	any := func(url string, value []byte) []byte {
		return join(k.of("any").put("type_url", url), k.of("any").put("value", value))
	}
	const host = "type.googleapis.com/"
	google := func(name string, value []byte) []byte { return any(host+"google.protobuf."+name, value) }
	held := join(varint(1, 7), chars(2, "t<"), message(3, twoNumbers(1, 0)))
	for name, value := range ordered(
		"held", any(host+"known.Held", held),
		"held, empty", any(host+"known.Held", nil),
		"held, no value", k.of("any").put("type_url", host+"known.Held"),
		"held, value first", join(k.of("any").put("value", held), k.of("any").put("type_url", host+"known.Held")),
		"held, by another host", any("example.com/a/b/known.Held", held),
		"held, by no host", any("/known.Held", held),
		"held, by its name alone", any("known.Held", held),
		"held, its url with markup", any("a<b>&\"/known.Held", held),
		"held, with unknown fields", any(host+"known.Held", join(varint(99, 1), held)),
		"held deeper", any(host+"known.Held.Deeper", chars(1, strings.Repeat("\x00", 8))),
		"of its own type", any(host+"known.Types", k.put("time", twoNumbers(1, 0))),
		"held, of another schema", any(host+"names.Odd", nil),
		"of nothing known", any(host+"known.Nothing", held),
		"of nothing known, empty", any(host+"known.Nothing", nil),
		"of a name with a point first", any(host+".known.Held", held),
		"of an enum", any(host+"google.protobuf.NullValue", nil),
		"of a map's entry", any(host+"known.Types.TimeByNameEntry", nil),
		"empty", []byte{},
		"without a url", k.of("any").put("value", held),
		"with a url that ends in /", any(host, held),
		"with a value that is not the message", any(host+"known.Held", []byte{0x0a, 0x05}),
		"with bad text inside", any(host+"known.Held", chars(2, "\xff")),
		"with an impossible time inside", any(host+"known.Held", message(3, twoNumbers(0, -1))),
		"with bad text as its url", any("\xff/known.Held", held),
		"in pieces", join(any(host+"known.Held", held), k.of("any").put("value", chars(2, "u"))),
		"Timestamp", google("Timestamp", twoNumbers(1, 5)),
		"Timestamp, impossible", google("Timestamp", twoNumbers(1, -5)),
		"Duration", google("Duration", twoNumbers(-1, -5)),
		"Struct", google("Struct", k.of("struct").entry("fields", "k", k.of("value").put("bool_value", true))),
		"Value", google("Value", k.of("value").put("null_value", 0)),
		"Value without a kind", google("Value", nil),
		"ListValue", google("ListValue", nil),
		"FieldMask", google("FieldMask", chars(1, "a_b")),
		"Empty", google("Empty", nil),
		"Empty, with unknown fields", google("Empty", varint(1, 1)),
		"Int64Value", google("Int64Value", varint(1, 5)),
		"StringValue", google("StringValue", nil),
		"BytesValue", google("BytesValue", chars(1, "\x00")),
		"DoubleValue", google("DoubleValue", double(1, math.NaN())),
		"Any", google("Any", google("Any", any(host+"known.Held", held))),
		"Any, empty", google("Any", nil),
	) {
		add("any "+name, k.put("any", value))
	}
	inside := held
	for range 60 {
		inside = message(4, any(host+"known.Held", inside))
	}
	add("any held, 60 deep", k.put("any", any(host+"known.Held", inside)))
	add("any, impossible in a choice that is overridden", k.put("one_any", any("x/y", nil)), k.put("one_empty", ""))
	add("anys", k.put("anys", google("Duration", nil), any(host+"known.Held", held)))
	add("any by name", k.entry("any_by_name", "k", google("Empty", nil)))
	add("any by name, missing", k.pair("any_by_name", k.of("any_by_name").put("key", "k")))
}

// ordered gives names and values by turns, in their order.
func ordered(pairs ...any) func(func(string, []byte) bool) {
	return func(yield func(string, []byte) bool) {
		for i := 0; i < len(pairs); i += 2 {
			if !yield(pairs[i].(string), pairs[i+1].([]byte)) {
				return
			}
		}
	}
}

// places: each type in each place, empty and with a field that it does not know.
func places(k kit, add adder) {
	fields := k.Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		name := string(field.Name())
		switch {
		case name == "inner":
			add("inner", k.put("inner", k.put("inner", k.put("empty", varint(1, 1)))))
		case field.IsMap():
			add(name+", entry empty", k.pair(name))
			add(name+", its values as numbers", k.pair(name, k.of(name).as("value", protowire.VarintType)))
		case field.IsList():
			add(name+", two that are empty", k.put(name, "", ""))
		default:
			add(name+" as a number", k.as(name, protowire.VarintType))
			add(name+" as a group", k.as(name, protowire.StartGroupType))
		}
	}
}
