// The messages of the built-in schema. They are written byte by byte, because most of them Go would
// not write: devices have encoders of their own. Known here are the wire format and the schema's
// numbers; deliberately nothing of JSON.

package main

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// The fields' numbers in the schema.
const (
	deviceID protowire.Number = iota + 1
	fixTime
	latitude
	longitude
	altitude
	speed
	heading
	horizontalAccuracy
	hdop
	satellites
	fixType
	ignition
	odometer
	event
	sequence
	vehicleID
	batteryVoltage
	attributes
	unknown protowire.Number = 99
)

func timestamp(seconds int64, nanos int32) []byte {
	return message(fixTime, varint(1, uint64(seconds)), varint(2, uint64(nanos)))
}

func attribute(key, value string) []byte {
	return message(attributes, chars(1, key), chars(2, value))
}

// ------------------------------------------------------------------------------- the edges

var doubles = []float64{
	0, math.Copysign(0, -1), 1, -1, 0.1, -0.1, 1.0 / 3, 0.1 + 0.2, 4.35, 519.25, 1e-5, 1.5e-6, 1e-6,
	math.Nextafter(1e-6, 0), -1e-6, 1e-7, -1e-7, 1.5e-10, 1e6, 9999999, 1e7, 12345678.9, 1e8, 1e15,
	1e16, 1e17, 1<<53 + 2, 1<<52 + 0.5, 123456789012345678, 1 << 63, 1 << 64, 1e20,
	math.Nextafter(1e21, 0), 1e21, -1e21, 1e22, 1e23, 8.41e21, 9.5e21, 0x1p-44, 0x1p-1022,
	math.Nextafter(0x1p-1022, 0), math.SmallestNonzeroFloat64, -math.SmallestNonzeroFloat64,
	3 * math.SmallestNonzeroFloat64, math.MaxFloat64, -math.MaxFloat64, float64(float32(0.1)),
	// Halfway between two shortest texts.
	5.0 / (1 << 23), 33.0 / (1 << 22), 10000000.0009765625, -10000000.0029296875,
	math.NaN(), math.Inf(1), math.Inf(-1),
}

var floats = []float32{
	0, float32(math.Copysign(0, -1)), 1, 0.1, 0.3, 1.0 / 3, 13.8, 27.6, 1e-5, 1.5e-6, 1e-6,
	math.Nextafter32(1e-6, 0), math.Nextafter32(1e-6, 1), 1e-7, 1e6, 9999999, 1e7, 1e8, 16777216,
	33554432, 8388608.5, 1e10, 123456789, 1e20, math.Nextafter32(1e21, 0), 1e21, 1e22, 3.4e38,
	16.0078125, 17.8515625, 0x1p-24, 0x1p-126, math.Nextafter32(0x1p-126, 0), math.SmallestNonzeroFloat32,
	7 * math.SmallestNonzeroFloat32, math.MaxFloat32, float32(math.NaN()), float32(math.Inf(1)),
}

// What the checks of an angle might look at, and those of an amount.
var angles = []float64{
	0, math.Copysign(0, -1), 0.1, 1e-6, 1e-7, 90, 91, 180, 181, 360, 361, -90, -91, -180, -181,
	math.NaN(), math.Inf(1), math.Inf(-1),
}

var amounts = []float32{
	0, float32(math.Copysign(0, -1)), 0.1, 1e-6, 1e-7, 13.8, math.SmallestNonzeroFloat32, math.MaxFloat32,
	-math.SmallestNonzeroFloat32, float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)),
}

var integers = []uint64{
	0, 1, 127, 128, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1<<32 + 2, 1<<53 + 1, 1<<63 - 1, 1 << 63,
	math.MaxUint64,
}

// Seconds and nanoseconds.
var times = []struct {
	seconds int64
	nanos   int32
}{
	{0, 0}, {0, 1}, {0, 1_000}, {0, 1_000_000}, {0, 10_000_000}, {0, 999_999_999}, {0, 120_000_000},
	{0, 123_400_000}, {0, 123_456_000}, {0, 123_456_700}, {-1, 0}, {-1, 999_000_000}, {-1, 1},
	{1_709_164_800, 250_000_000}, {951_782_400, 0}, {-2_203_891_200, 0}, {4_107_542_400, 0},
	{1_483_228_799, 0}, {-62_135_596_800, 0}, {-62_135_596_800, 1}, {-62_135_596_801, 999_999_999},
	{253_402_300_799, 999_999_999}, {253_402_300_800, 0}, {-62_167_219_200, 0}, {0, -1}, {5, -1_000},
	{0, 1_000_000_000}, {0, math.MaxInt32}, {0, math.MinInt32}, {math.MaxInt64, 0}, {math.MinInt64, 0},
}

// gps are all that were thought of, and some at random. They have a device_id unless they are about
// that.
func gps(protoreflect.MessageDescriptor) []testCase {
	var all []testCase
	bare := func(name string, parts ...[]byte) {
		all = append(all, testCase{name, join(parts...)})
	}
	device := chars(deviceID, "t")
	add := func(name string, parts ...[]byte) { bare(name, device, join(parts...)) }

	for _, value := range doubles {
		add(fmt.Sprintf("altitude %v", value), double(altitude, value))
	}
	for _, value := range floats {
		add(fmt.Sprintf("hdop %v", value), float(hdop, value))
	}
	for _, value := range angles {
		add(fmt.Sprintf("latitude %v", value), double(latitude, value))
		add(fmt.Sprintf("longitude %v", value), double(longitude, value))
		add(fmt.Sprintf("heading %v", value), float(heading, float32(value)))
	}
	for _, value := range amounts {
		add(fmt.Sprintf("speed %v", value), float(speed, value))
		add(fmt.Sprintf("horizontal_accuracy %v", value), float(horizontalAccuracy, value))
		add(fmt.Sprintf("battery_voltage %v", value), float(batteryVoltage, value))
	}
	add("latitude just past 90", double(latitude, math.Nextafter(90, 91)))
	add("hdop -1", float(hdop, -1))
	add("hdop, 2 to the power of -12", float(hdop, 0x1p-12))
	add("altitude, NaN with a payload", double(altitude, math.Float64frombits(0xfff0_0000_0000_0001)))
	add("hdop, NaN with a payload", float(hdop, math.Float32frombits(0xff80_0001)))
	for _, value := range integers {
		add(fmt.Sprintf("satellites %d", value), varint(satellites, value))
		add(fmt.Sprintf("odometer %d", value), varint(odometer, value))
		add(fmt.Sprintf("sequence %d", value), varint(sequence, value))
		add(fmt.Sprintf("ignition %d", value), varint(ignition, value))
		add(fmt.Sprintf("enums %d", int64(value)), varint(fixType, value), varint(event, value))
	}
	for value := range uint64(10) {
		add(fmt.Sprintf("fix_type %d", value), varint(fixType, value))
		add(fmt.Sprintf("event %d", value), varint(event, value))
	}
	negative := int64(math.MinInt32)
	add("enums, the smallest", varint(fixType, uint64(negative)), varint(event, uint64(negative)))
	for _, t := range times {
		add(fmt.Sprintf("fix_time %d s %d ns", t.seconds, t.nanos), timestamp(t.seconds, t.nanos))
	}
	for i, value := range texts {
		bare(fmt.Sprintf("text %d as device_id", i), chars(deviceID, value))
		add(fmt.Sprintf("text %d as vehicle_id", i), chars(vehicleID, value))
		add(fmt.Sprintf("text %d as attribute", i), attribute(value, value))
	}
	add("long text", chars(vehicleID, longText), attribute(longText, longText))
	for c := range 0x20 {
		add(fmt.Sprintf("control character %d", c), chars(vehicleID, string(rune(c))))
	}
	for i, value := range badTexts {
		bare(fmt.Sprintf("bad text %d as device_id", i), chars(deviceID, value))
		add(fmt.Sprintf("bad text %d as vehicle_id", i), chars(vehicleID, value))
		add(fmt.Sprintf("bad text %d as attribute's name", i), attribute(value, ""))
		add(fmt.Sprintf("bad text %d as attribute's value", i), attribute("a", value))
		add(fmt.Sprintf("bad text %d in an unknown field", i), chars(unknown, value))
	}
	add("bad text, overwritten", chars(vehicleID, "\xff"), chars(vehicleID, "v"))

	bare("empty")
	bare("device_id empty", chars(deviceID, ""))
	bare("device_id missing", double(latitude, 1))
	bare("device_id 255 bytes", chars(deviceID, strings.Repeat("é", 127)+"x"))
	bare("device_id 256 bytes", chars(deviceID, strings.Repeat("é", 128)))

	merging(add)
	mapping(add)
	wire(add)
	return append(all, gpsAtRandom(150)...)
}

// merging: what comes twice, in pieces, or in another order.
func merging(add adder) {
	add("device_id twice", chars(deviceID, "u"))
	add("device_id emptied", chars(deviceID, ""))
	add("latitude twice", double(latitude, 1), double(latitude, 2))
	add("latitude set back to 0", double(latitude, 1), double(latitude, 0))
	add("latitude impossible, then possible", double(latitude, 91), double(latitude, 2))
	add("fix_type set back to 0", varint(fixType, 3), varint(fixType, 0))
	add("sequence set back to 0", varint(sequence, 3), varint(sequence, 0))
	add("vehicle_id emptied", chars(vehicleID, "v"), chars(vehicleID, ""))
	add("out of order", chars(vehicleID, "v"), varint(event, 1), float(speed, 1), timestamp(1, 0))
	add("fix_time empty", message(fixTime))
	add("fix_time in two pieces", message(fixTime, varint(1, 7)), message(fixTime, varint(2, 5)))
	add("fix_time, second piece empty", timestamp(7, 5), message(fixTime))
	add("fix_time, a piece overwritten", timestamp(7, 5), message(fixTime, varint(1, 9)))
	add("fix_time nanos first", message(fixTime, varint(2, 5), varint(1, 7)))
	add("fix_time with an unknown field", message(fixTime, varint(1, 7), chars(9, "x")))
	add("fix_time nanos of 64 bits", message(fixTime, varint(2, 1<<32+5)))
	add("fix_time cut off inside", message(fixTime, []byte{0x08}))
	add("fix_time seconds as fixed64", message(fixTime, double(1, 7)))
}

// mapping: entries of the map.
func mapping(add adder) {
	entry := func(parts ...[]byte) []byte { return message(attributes, parts...) }
	add("entry empty", entry())
	add("entry without a name", entry(chars(2, "v")))
	add("entry without a value", entry(chars(1, "k")))
	add("entry's value first", entry(chars(2, "v"), chars(1, "k")))
	add("entry's name twice", entry(chars(1, "k"), chars(1, "l"), chars(2, "v")))
	add("entry's value twice", entry(chars(1, "k"), chars(2, "v"), chars(2, "w")))
	add("entry with an unknown field", entry(chars(1, "k"), varint(3, 5), chars(2, "v")))
	add("entry with a group", entry(chars(1, "k"), group(3, varint(1, 1)), chars(2, "v")))
	add("entry's name as a number", entry(varint(1, 5), chars(2, "v")))
	add("entry's value as a number", entry(chars(1, "k"), varint(2, 5)))
	add("entry cut off inside", entry([]byte{0x0a, 0x05, 'k'}))
	add("names twice", attribute("k", "1"), attribute("l", "2"), attribute("k", "3"))
	add("a name's value emptied", attribute("k", "1"), entry(chars(1, "k")))
	var unsorted [][]byte
	for _, key := range []string{"b", "a", "B", "", "10", "9", "ab", "a\x00", "é", "z", "\ufffd", "🚌", "_", "a<"} {
		unsorted = append(unsorted, attribute(key, key))
	}
	add("names to be sorted", unsorted...)
}

// wire: what a strict reader of the wire format may refuse.
func wire(add adder) {
	end := protowire.AppendTag(nil, unknown, protowire.EndGroupType)
	begin := protowire.AppendTag(nil, unknown, protowire.StartGroupType)
	deep := func(depth int) []byte { return join(bytes.Repeat(begin, depth), bytes.Repeat(end, depth)) }
	add("unknown varint", varint(unknown, 1))
	add("unknown fixed64", double(unknown, 1))
	add("unknown bytes", chars(unknown, "\x00\xff"))
	add("unknown fixed32", float(unknown, 1))
	add("unknown group", group(unknown, varint(1, 1), chars(2, "x"), group(3)))
	add("unknown, the highest number", varint(protowire.MaxValidNumber, 1))
	add("unknown, past the highest number", varint(protowire.MaxValidNumber+1, 1))
	add("unknown, reserved number", varint(19000, 1))
	add("number 0", []byte{0x00, 0x01})
	add("wire type 6", []byte{0x0e, 0x01})
	add("wire type 7", []byte{0x0f, 0x01})
	add("groups 90 deep", deep(90))
	add("groups 150 deep", deep(150))
	add("group without its end", begin, varint(1, 1))
	add("end of a group alone", end)
	add("end of another group", begin, varint(1, 1), protowire.AppendTag(nil, 98, protowire.EndGroupType))

	add("device_id as a number", varint(deviceID, 5))
	add("device_id as a group", group(deviceID, varint(1, 1)))
	add("fix_time as a number", varint(fixTime, 5))
	add("fix_time as a group", group(fixTime, varint(1, 5)))
	add("latitude as float", float(latitude, 1))
	add("latitude as a number", varint(latitude, 1))
	add("speed as double", double(speed, 1))
	add("satellites as fixed32", float(satellites, 1))
	add("satellites as a list", message(satellites, []byte{5}))
	add("fix_type as text", chars(fixType, "FIX_3D"))
	add("ignition as fixed64", double(ignition, 1))
	add("odometer as text", chars(odometer, "5"))
	add("sequence as fixed64", double(sequence, 1))
	add("attributes as a number", varint(attributes, 5))

	add("tag longer than needed", []byte{0xf8, 0x80, 0x80, 0x80, 0x00, 0x05})
	add("tag past 32 bits", []byte{0xf8, 0x80, 0x80, 0x80, 0x10, 0x05})
	add("number longer than needed", []byte{0x78, 0x85, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00})
	add("number of 11 bytes", []byte{0x78, 0x85, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00})
	add("number past 64 bits", []byte{0x78, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02})
	add("length longer than needed", []byte{0x82, 0x01, 0x81, 0x80, 0x00, 'v'})
	add("length past the end", []byte{0x82, 0x01, 0x05, 'v'})
	add("length past 63 bits", []byte{0x82, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	add("line of JSON", []byte(`{"deviceId":"t"}`))
	whole := join(timestamp(7, 5), double(latitude, 1), varint(sequence, 300), attribute("k", "v"))
	for length := 1; length < len(whole); length++ {
		add(fmt.Sprintf("cut off after %d bytes", length), whole[:length])
	}
}

// ------------------------------------------------------------------------------ at random

// gpsAtRandom gives messages whose fields are set or not, with any values that a position can have.
func gpsAtRandom(count int) []testCase {
	rng := rand.New(rand.NewPCG(6, 2024))
	maybe := func(parts [][]byte, part []byte) [][]byte {
		if rng.IntN(3) == 0 {
			return parts
		}
		return append(parts, part)
	}
	anyDouble := func() float64 {
		switch rng.IntN(4) {
		case 0:
			return math.Ldexp(1, rng.IntN(2000)-1000)
		case 1:
			return float64(rng.IntN(2_000_000)-1_000_000) / 100
		default:
			return math.Float64frombits(rng.Uint64())
		}
	}
	anyFloat := func() float32 {
		if rng.IntN(4) == 0 {
			return float32(math.Ldexp(1, rng.IntN(250)-125))
		}
		return math.Float32frombits(rng.Uint32() >> 1)
	}
	anyText := func() string {
		var text strings.Builder
		for range rng.IntN(12) {
			text.WriteString(texts[rng.IntN(len(texts))])
		}
		return text.String()
	}
	// Small ones too, so that every length of a varint is there.
	anyInteger := func() uint64 { return rng.Uint64() >> rng.IntN(64) }

	var all []testCase
	for i := range count {
		parts := [][]byte{chars(deviceID, fmt.Sprintf("t-%d%s", i, texts[rng.IntN(len(texts))]))}
		seconds := rng.Int64N(253_402_300_800+62_135_596_800) - 62_135_596_800
		parts = maybe(parts, timestamp(seconds, int32(rng.IntN(1_000_000_000))))
		parts = maybe(parts, double(latitude, rng.Float64()*180-90))
		parts = maybe(parts, double(longitude, rng.Float64()*360-180))
		parts = maybe(parts, double(altitude, anyDouble()))
		for _, field := range []protowire.Number{speed, horizontalAccuracy, hdop, batteryVoltage} {
			parts = maybe(parts, float(field, anyFloat()))
		}
		parts = maybe(parts, float(heading, rng.Float32()*360))
		for _, field := range []protowire.Number{satellites, ignition, odometer, sequence} {
			parts = maybe(parts, varint(field, anyInteger()))
		}
		parts = maybe(parts, varint(fixType, uint64(rng.IntN(9)-1)))
		parts = maybe(parts, varint(event, uint64(rng.IntN(10)-1)))
		parts = maybe(parts, chars(vehicleID, anyText()))
		for range rng.IntN(5) {
			parts = append(parts, attribute(anyText(), anyText()))
		}
		rng.Shuffle(len(parts), func(a, b int) { parts[a], parts[b] = parts[b], parts[a] })
		all = append(all, testCase{fmt.Sprintf("random %d", i), join(parts...)})
	}
	return all
}
