// The wire format, one field at a time, and texts to put into it. Nothing here knows a schema.

package main

import (
	"bytes"
	"math"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// testCase is one message as a device sends it.
type testCase struct {
	name  string
	bytes []byte
}

type adder func(name string, parts ...[]byte)

func varint(field protowire.Number, value uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, field, protowire.VarintType), value)
}

func double(field protowire.Number, value float64) []byte {
	tag := protowire.AppendTag(nil, field, protowire.Fixed64Type)
	return protowire.AppendFixed64(tag, math.Float64bits(value))
}

func float(field protowire.Number, value float32) []byte {
	tag := protowire.AppendTag(nil, field, protowire.Fixed32Type)
	return protowire.AppendFixed32(tag, math.Float32bits(value))
}

// chars is a string or a submessage: to the wire they are one.
func chars(field protowire.Number, value string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, field, protowire.BytesType), value)
}

func message(field protowire.Number, parts ...[]byte) []byte {
	return chars(field, string(join(parts...)))
}

func group(field protowire.Number, parts ...[]byte) []byte {
	begin := protowire.AppendTag(nil, field, protowire.StartGroupType)
	return join(begin, join(parts...), protowire.AppendTag(nil, field, protowire.EndGroupType))
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

var texts = []string{
	"bus-17", " ", "a\"b", "a\\b", "a/b", "\x00", "\b\f\n\r\t\v", "\x01\x0e\x1e\x1f \x7f", "<", ">", "&",
	"</script><a href=\"?a&b\">", "\u2028", "\u2029", "a\u2027\u2028\u2029\u202ab", "\u00a0\u0080\u009f",
	"\u00e2\u20ac\u2068", "München", "e\u0301", "北京", "🚌", "👩‍👩‍👧", "\ufffd", "\ufeff", "\ufffe\uffff",
	"\ue000", "\U0010ffff", "\\u003c", "null", "1e400",
}

var longText = strings.Repeat("x<é\u2028\n", 60)

// Not UTF-8: no such byte, overlong, half of a surrogate pair, past the end, cut off, out of place.
var badTexts = []string{"\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "a\xe2\x80", "\x80a"}
