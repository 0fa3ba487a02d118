// Messages of every3.proto and every2.proto: each kind of field in each place, with the edges of its
// kind, and everything that can go wrong on the wire. What a field is, its name's beginning says.

package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

func every3(descriptor protoreflect.MessageDescriptor) []testCase {
	k := kit{descriptor}
	all := []testCase{}
	add := collector(&all)
	everywhere(k, add)
	deep(k, add)
	oddWire(k, add)
	for i, text := range badTexts {
		add(fmt.Sprintf("bad text %d", i), k.put("plain_string", text))
	}
	for _, name := range []string{"optional_string", "list_string", "one_string"} {
		add("bad text in "+name, k.put(name, "\xff"))
	}
	add("bad text as a map's name", k.entry("by_string", "\xff", "v"))
	add("bad text as a map's value", k.entry("of_string", "k", "\xff"))
	add("bad text, overwritten", k.put("plain_string", "\xff", "v"))
	add("bad text, in a choice that is overridden", k.put("one_string", "\xff"), k.put("one_int32", 1))
	add("bad text in an unknown field", chars(170, "\xff"))
	add("null", k.put("null", 0), k.put("list_null", 0, 1, 0))
	add("null, another number", k.put("null", 1))
	add("null, optional", k.put("optional_null", 0))
	add("null, chosen", k.put("one_null", 0))
	add("null, packed", k.pack("list_null", 0, 0))
	return append(all, atRandom(k, 3, 60, 0.06)...)
}

func every2(descriptor protoreflect.MessageDescriptor) []testCase {
	k := kit{descriptor}
	all := []testCase{}
	add := collector(&all)
	everywhere(k, add)
	gears := []any{0, 1, -1, 2, raw(1 << 32), raw(1<<32 + 2)}
	for i, value := range gears {
		add(fmt.Sprintf("gear %d", i), k.put("gear", value))
		add(fmt.Sprintf("gear %d, chosen", i), k.put("one_gear", value))
		add(fmt.Sprintf("gear %d, over another", i), k.put("gear", 1, value))
	}
	add("gears", k.put("gears", gears...))
	add("gears, packed", k.pack("gears", gears...))
	for i, text := range badTexts {
		add(fmt.Sprintf("bad text %d", i), k.put("plain_string", text))
	}
	add("bad text as a map's name", k.entry("by_string", "\xff", "v"))
	add("bad text as a map's value", k.entry("of_string", "k", "\xff"))

	strict := k.of("strict")
	name, number := strict.put("name", ""), strict.put("number", 0)
	both := join(name, number)
	add("strict", k.put("strict", both))
	add("strict, empty", k.put("strict", ""))
	add("strict, without its name", k.put("strict", number))
	add("strict, without its number", k.put("strict", name))
	add("strict, in two pieces", k.put("strict", name, number))
	add("strict, its number in another wire type", k.put("strict", join(name, strict.as("number", protowire.Fixed32Type))))
	add("strict inside, empty", k.put("strict", join(both, strict.put("inner", ""))))
	add("strict inside", k.put("strict", join(both, strict.put("inner", both))))
	add("stricts", k.put("stricts", both, both))
	add("stricts, the second empty", k.put("stricts", both, ""))
	add("strict in a map", k.entry("of_strict", "k", both))
	add("strict in a map, empty", k.entry("of_strict", "k", ""))
	add("strict in a map, missing", k.pair("of_strict", k.of("of_strict").put("key", "k")))
	add("strict, chosen", k.put("one_strict", both))
	add("strict, chosen and empty", k.put("one_strict", ""))
	add("strict, chosen and empty, inside another", k.put("one_everything", k.put("one_strict", "")))
	return append(all, atRandom(k, 2, 40, 0.06)...)
}

func collector(all *[]testCase) adder {
	return func(name string, parts ...[]byte) { *all = append(*all, testCase{name, join(parts...)}) }
}

// everywhere: what the two syntaxes have in common.
func everywhere(k kit, add adder) {
	add("empty")
	fields := k.Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		name := string(field.Name())
		switch prefix, _, _ := strings.Cut(name, "_"); prefix {
		case "plain":
			plain(k, add, field)
		case "optional":
			values := edges(field)
			first, last := values[0], values[len(values)-1]
			add(name+", its default", k.put(name, first))
			add(name+", another", k.put(name, last))
		case "list", "unpacked":
			list(k, add, field)
		case "by", "of":
			if field.IsMap() {
				mapped(k, add, field)
			}
		case "one":
			if name != "one_everything" && name != "one_strict" && name != "one_gear" {
				chosen(k, add, field)
			}
		}
	}
	merged(k, add)
	add("alias", k.put("alias", 0), k.put("aliases", 0, 1, 2))
	add("alias, its second", k.put("alias", 1))
	add("shade", k.put("shade", 1))
	add("highest", k.put("highest", 1))
	add("around the reserved", k.put("after_the_reserved", 2), k.put("before_the_reserved", 1))
	add("longer tags", k.put("of_three_bytes_tag", "c"), k.put("of_two_bytes_tag", "b"))
}

// described is a value for a case's name.
func described(value any) string {
	switch value := value.(type) {
	case []byte:
		return fmt.Sprintf("%x", value)
	case string:
		return fmt.Sprintf("%q", value)
	case raw:
		return fmt.Sprintf("as the varint %d", uint64(value))
	default:
		return fmt.Sprintf("%v", value)
	}
}

func count(number int, what string) string {
	if number == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", number, what)
}

func plain(k kit, add adder, field protoreflect.FieldDescriptor) {
	name := string(field.Name())
	var seen []string
	for _, value := range append(edges(field), strays(field.Kind())...) {
		if text := described(value); !slices.Contains(seen, text) {
			seen = append(seen, text)
			add(name+" "+text, k.put(name, value))
		}
	}
	values := edges(field)
	add(name+", twice", k.put(name, values[1], values[len(values)-1]))
	add(name+", set back", k.put(name, values[len(values)-1], values[0]))
	otherTypes(k, add, field)
}

// otherTypes: the field in every wire type but its own.
func otherTypes(k kit, add adder, field protoreflect.FieldDescriptor) {
	for wire := protowire.VarintType; wire <= protowire.Fixed32Type; wire++ {
		own := wire == wireType(field.Kind()) || wire == protowire.BytesType && field.IsList()
		if text, ok := wireTypes[wire]; ok && !own {
			add(string(field.Name())+" as "+text, k.as(string(field.Name()), wire))
		}
	}
}

func list(k kit, add adder, field protoreflect.FieldDescriptor) {
	name := string(field.Name())
	all := append(edges(field), strays(field.Kind())...)
	add(name+", one by one", k.put(name, all...))
	if !isPackable(field) {
		otherTypes(k, add, field)
		return
	}
	add(name+", packed", k.pack(name, all...))
	if strings.HasPrefix(name, "unpacked") {
		return
	}
	add(name+", both ways", k.pack(name, all[0], all[1]), k.put(name, all[0]), k.pack(name), k.pack(name, all[1]))
	add(name+", packed and empty", k.pack(name))
	packed := k.pack(name, all[0], all[1])
	add(name+", packed and cut off inside", message(field.Number(), packed[2:len(packed)-1], []byte{0x80}))
	otherTypes(k, add, field)
}

func mapped(k kit, add adder, field protoreflect.FieldDescriptor) {
	name := string(field.Name())
	keys, values := edges(field.MapKey()), edges(field.MapValue())
	entry := k.of(name)
	var parts [][]byte
	if strings.HasPrefix(name, "by") {
		for i, key := range slices.Backward(keys) {
			parts = append(parts, k.entry(name, key, fmt.Sprint(i)))
		}
		// As text 10 is before 9.
		if wireType(field.MapKey().Kind()) != protowire.BytesType && len(keys) > 2 {
			parts = append(parts, k.entry(name, 10, "10"), k.entry(name, 9, "9"))
		}
		add(name+", the edges", parts...)
		for i, stray := range strays(field.MapKey().Kind()) {
			add(fmt.Sprintf("%s, stray %d", name, i), k.entry(name, stray, "v"))
		}
		add(name+", its names in another wire type", k.pair(name, entry.as("key", otherThan(field.MapKey())), entry.put("value", "v")))
	} else {
		values = append(values, strays(field.MapValue().Kind())...)
		if field.MapValue().Kind() == protoreflect.MessageKind {
			values = []any{k.of(name).of("value").put(firstField(field.MapValue().Message()), edges(field.MapValue().Message().Fields().Get(0))[1])}
			if strings.HasSuffix(name, "strict") {
				return
			}
		}
		for i, value := range values {
			parts = append(parts, k.entry(name, fmt.Sprintf("%02d", i), value))
		}
		add(name+", the edges", parts...)
		add(name+", its values in another wire type", k.pair(name, entry.put("key", "k"), entry.as("value", otherThan(field.MapValue()))))
	}
	key, value := keys[len(keys)-1], values[len(values)-1]
	add(name+", entry empty", k.pair(name))
	add(name+", no value", k.pair(name, entry.put("key", key)))
	add(name+", no name", k.pair(name, entry.put("value", value)))
	add(name+", value first, both twice", k.pair(name, entry.put("value", values[0], value), entry.put("key", keys[0], key)))
	if name != "by_string" && name != "of_message" && name != "by_int32" {
		return
	}
	add(name+", a name twice", k.entry(name, key, values[0]), k.entry(name, keys[0], value), k.entry(name, key, value))
	add(name+", a name's value gone", k.entry(name, key, value), k.pair(name, entry.put("key", key)))
	add(name+", unknown fields inside", k.pair(name, varint(3, 1), entry.put("key", key), group(4, varint(1, 1)), entry.put("value", value), chars(5, "\xff")))
	add(name+", entry cut off inside", message(field.Number(), entry.put("key", key), []byte{0x12, 0x05}))
	add(name+", entry with tag 0", k.pair(name, entry.put("key", key), []byte{0x00, 0x01}))
	add(name+", entry with an end of a group", k.pair(name, entry.put("key", key), []byte{0x1c}))
	otherTypes(k, add, field)
	number := field.Number()
	length := protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), 2)
	add(name+" as a varint that could be a length", length, []byte{0x1a, 0x00})
}

func otherThan(field protoreflect.FieldDescriptor) protowire.Type {
	if wireType(field.Kind()) == protowire.Fixed32Type {
		return protowire.VarintType
	}
	return protowire.Fixed32Type
}

func firstField(message protoreflect.MessageDescriptor) string {
	return string(message.Fields().Get(0).Name())
}

// chosen: a member of a choice, alone, and overridden by the one declared next.
func chosen(k kit, add adder, field protoreflect.FieldDescriptor) {
	name := string(field.Name())
	values := edges(field)
	first, last := values[0], values[len(values)-1]
	add(name+", its default", k.put(name, first))
	add(name+", another", k.put(name, last))
	next := k.Fields().Get(field.Index() + 1)
	if next.ContainingOneof() == field.ContainingOneof() && next.Name() != "one_everything" {
		over := k.put(string(next.Name()), edges(next)[0])
		add(fmt.Sprintf("%s, then %s", name, next.Name()), k.put(name, last), over)
		add(fmt.Sprintf("%s, then %s, then again", name, next.Name()), k.put(name, last), over, k.put(name, first))
	}
}

// merged: messages that come in pieces.
func merged(k kit, add adder) {
	inner := k.of("plain_message")
	put := inner.put
	add("message in pieces", k.put("plain_message", put("number", 7), put("text", "t"), put("number", 8)))
	add("message in pieces, the second empty", k.put("plain_message", put("number", 7), ""))
	add("message in pieces, set back", k.put("plain_message", put("number", 7), put("number", 0)))
	add("message in pieces, its lists", k.put("plain_message", put("numbers", 1, 2), inner.pack("numbers", 3), put("numbers", 4)))
	add("message in pieces, its messages", k.put("plain_message",
		put("inner", put("number", 1), put("text", "a")), put("inner", put("text", "b"))))
	add("message in pieces, its choices", k.put("plain_message", put("label", "l"), put("nested", put("number", 1))))
	add("message in pieces, its choices again", k.put("plain_message",
		put("nested", put("number", 1)), put("label", "l"), put("nested", put("text", "t"))))
	add("message in pieces, one choice", k.put("plain_message",
		put("nested", put("number", 1)), put("nested", put("text", "t"))))
	add("message in pieces, others between", k.put("plain_message", put("number", 7)), k.put("plain_int32", 1),
		k.put("list_message", put("number", 1)), k.put("plain_message", put("text", "t")))
	add("messages of a list stay apart", k.put("list_message", put("number", 7), put("text", "t"), ""))
	add("messages of a list, unknown fields inside", k.put("list_message", join(put("number", 7), varint(99, 1)), chars(99, "x")))
	add("message, its order by declaration", k.put("plain_message", join(put("nested", ""), put("numbers", 1),
		put("inner", ""), put("text", "t"), put("flag", true), put("number", 1))))
	add("choice in pieces", k.put("one_message", put("number", 1), put("text", "t")))
	add("choice in pieces, another between", k.put("one_message", put("number", 1)), k.put("one_int32", 1), k.put("one_message", put("text", "t")))
	add("choice in pieces, another unknown between", k.put("one_message", put("number", 1)), varint(170, 1), k.put("one_message", put("text", "t")))
	add("choice of another wire type", k.put("one_string", "s"), k.as("one_int32", protowire.Fixed32Type))
	add("choices, both", k.put("other_message", ""), k.put("one_bool", false))
	add("choices, both overridden", k.put("other_message", ""), k.put("one_bool", false), k.put("one_bytes", ""), k.put("other_string", ""))
	add("choice of the message itself", k.put("one_everything", k.put("plain_int32", 1), k.put("one_everything", k.put("plain_int32", 2))))
	tree := k.of("tree")
	add("maps in pieces", k.put("tree",
		tree.entry("named", "a", tree.put("name", "1")), tree.entry("named", "b", tree.put("name", "2")),
		tree.entry("named", "a", tree.entry("numbered", -1, tree.put("name", "3")))))
	value := tree.of("named")
	add("map's value in pieces", k.put("tree", tree.pair("named",
		value.put("value", tree.put("name", "1")), value.put("key", "k"), value.put("value", tree.put("left", "")))))
	add("all in another order", k.put("highest", 1), k.put("tree", ""), k.put("one_int32", 0), k.entry("of_bool", "k", true),
		k.entry("by_bool", true, "v"), k.put("unpacked_bool", true), k.put("list_bool", true), k.put("optional_bool", true),
		k.put("plain_string", "s"), k.put("plain_double", 1.0))
}

// deep: to the limits of nesting and beyond. Go's is at 10,000; others' are lower.
func deep(k kit, add adder) {
	tree := k.of("tree")
	down := func(name string, levels int, inmost []byte) []byte {
		field, inside := tree.named(name), inmost
		for range levels {
			switch {
			case field.IsMap():
				inside = tree.pair(name, tree.of(name).put("value", inside))
			default:
				inside = tree.put(name, inside)
			}
		}
		return k.put("tree", inside)
	}
	for _, name := range []string{"only", "branches", "left"} {
		for _, levels := range []int{98, 99, 100, 101} {
			add(fmt.Sprintf("%s, %d deep", name, levels), down(name, levels, nil))
		}
	}
	for _, name := range []string{"named", "numbered"} {
		for _, levels := range []int{33, 48, 49, 50, 98, 99, 100} {
			add(fmt.Sprintf("%s, %d deep", name, levels), down(name, levels, nil))
		}
	}
	for _, levels := range []int{97, 98, 99, 100} {
		add(fmt.Sprintf("only, %d deep, a text inside", levels), down("only", levels, tree.put("name", "t")))
		add(fmt.Sprintf("only, %d deep, an unknown field inside", levels), down("only", levels, varint(99, 1)))
		add(fmt.Sprintf("only, %d deep, an unknown group inside", levels), down("only", levels, group(99)))
	}
	everything := k.put("plain_int32", 1)
	for range 30 {
		everything = k.put("one_everything", everything)
	}
	add("one_everything, 30 deep", everything)
	begin := protowire.AppendTag(nil, 170, protowire.StartGroupType)
	end := protowire.AppendTag(nil, 170, protowire.EndGroupType)
	for _, levels := range []int{10, 98, 99, 100, 101, 102} {
		add(fmt.Sprintf("unknown groups, %d deep", levels), bytes.Repeat(begin, levels), bytes.Repeat(end, levels))
	}
}

// oddWire: what a strict reader of the wire format may refuse.
func oddWire(k kit, add adder) {
	end := protowire.AppendTag(nil, 170, protowire.EndGroupType)
	begin := protowire.AppendTag(nil, 170, protowire.StartGroupType)
	for _, number := range []protowire.Number{19, 170, 18998, 19000, 19999, protowire.MaxValidNumber - 1} {
		add(fmt.Sprintf("unknown field %d", number), varint(number, 1))
	}
	add("unknown fields of every type", varint(170, 1), double(170, 1), chars(170, "\xff"), group(170, float(1, 1)), float(170, 1))
	add("unknown field in the known", k.put("plain_message", varint(170, 1)))
	add("unknown field past the highest", varint(protowire.MaxValidNumber+1, 1))
	add("unknown varint too long", protowire.AppendTag(nil, 170, protowire.VarintType), bytes.Repeat([]byte{0x80}, 10), []byte{0})
	add("unknown bytes past the end", protowire.AppendTag(nil, 170, protowire.BytesType), []byte{2, 0})
	add("unknown fixed64 past the end", protowire.AppendTag(nil, 170, protowire.Fixed64Type), []byte{2, 0})
	add("group without its end", begin, varint(1, 1))
	add("group's end alone", end)
	add("group's end, of a known field", protowire.AppendTag(nil, 3, protowire.EndGroupType))
	add("group's end in a message", k.put("plain_message", end))
	add("group ended by another", begin, protowire.AppendTag(nil, 171, protowire.EndGroupType))
	add("group with a bad field", begin, []byte{0x00, 0x01}, end)
	add("group with a known field's number", begin, k.put("plain_int32", 1), end)
	add("tag 0", []byte{0x00, 0x01})
	add("tag 0 of bytes", []byte{0x02, 0x00})
	add("wire type 6", []byte{0x1e, 0x01})
	add("wire type 7", []byte{0x1f, 0x01})
	add("tag longer than needed", []byte{0x98, 0x80, 0x00, 0x05})
	add("tag as long as can be", []byte{0x98, 0x80, 0x80, 0x80, 0x00, 0x05})
	add("tag of ten bytes", []byte{0x98, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00, 0x05})
	add("tag of eleven bytes", []byte{0x98, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00, 0x05})
	add("tag past 32 bits", []byte{0x98, 0x80, 0x80, 0x80, 0x10, 0x05})
	long := func(bytes ...byte) []byte { return append([]byte{0x18}, bytes...) }
	add("varint longer than needed", long(0x85, 0x80, 0x00))
	add("varint of ten bytes", long(0x85, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00))
	add("varint of ten bytes, past 64 bits", long(0x85, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02))
	add("varint of eleven bytes", long(0x85, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00))
	add("varint cut off", long(0x85))
	add("length longer than needed", []byte{0x72, 0x81, 0x80, 0x00, 'x'})
	add("length past the end", []byte{0x72, 0x02, 'x'})
	add("length past 32 bits", []byte{0x72, 0x80, 0x80, 0x80, 0x80, 0x10})
	add("length past 63 bits", []byte{0x72, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	add("length past the message that holds it", k.put("list_message", []byte{0x1a, 0x03, 'x'}), k.put("plain_string", "abc"))
	add("packed past the message that holds it", k.put("list_message", []byte{0x2a, 0x03, 1}), k.put("plain_string", "abc"))
	add("packed fixed32 of three bytes", message(k.named("list_fixed32").Number(), []byte{1, 2, 3}))
	add("packed double of nine bytes", message(k.named("list_double").Number(), bytes.Repeat([]byte{1}, 9)))
	add("packed varint of eleven bytes", message(k.named("list_int32").Number(), bytes.Repeat([]byte{0x80}, 10), []byte{0}))
	add("text", []byte("hello"))
	inner := k.of("plain_message")
	cut(add, "some of everything", join(
		k.put("plain_int32", 300), k.put("plain_double", 1.5), k.put("plain_float", -2.5), k.put("plain_string", "grün"),
		k.put("plain_message", join(inner.put("number", 1), inner.put("text", "ab"), inner.pack("numbers", 1, 300))),
		k.pack("list_sfixed32", 1, -1), k.entry("by_int32", -1, "v"), k.put("one_bytes", "\x00\xff"), group(170, chars(1, "x")),
		k.put("highest", 1)))
}
