// Messages of names.proto: every field under the name that Go gives it.

package main

import (
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"
)

func names(descriptor protoreflect.MessageDescriptor) []testCase {
	k := kit{descriptor}
	all := []testCase{}
	add := collector(&all)
	fields := k.Fields()
	var whole [][]byte
	for i := range fields.Len() {
		field := fields.Get(i)
		name := string(field.Name())
		var part []byte
		switch {
		case field.IsMap():
			part = k.entry(name, "B_a", k.put("_1", "x"))
		case field.Kind() == protoreflect.StringKind:
			part = k.put(name, name)
		case field.Kind() == protoreflect.EnumKind:
			for number := range 6 {
				add(fmt.Sprintf("%s %d", name, number), k.put(name, number))
			}
			part = k.put(name, 1)
		default:
			part = k.put(name, k.put("device_id", "inside"))
		}
		add(name, part)
		whole = append([][]byte{part}, whole...)
	}
	add("all, from the last to the first", whole...)
	return append(all, atRandom(k, 5, 20, 0.15)...)
}
