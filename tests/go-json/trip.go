// Messages of fleet/trip.proto: what a fleet would send, and what an attacker would.

package main

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/reflect/protoreflect"
)

func trip(descriptor protoreflect.MessageDescriptor) []testCase {
	k := kit{descriptor}
	all := []testCase{}
	add := collector(&all)
	day := aDay(k)
	add("a day", day)
	add("a day in two pieces", k.put("next", day), k.put("next", join(k.put("trip_id", "second"), k.put("card_number", "7"))))
	add("a day with all of its fields twice", day, day)
	short := join(k.put("trip_id", "t"), k.put("vehicle", chars(1, "HH-1")), k.put("started_at", twoNumbers(1_709_164_800, 250_000_000)),
		k.put("positions", k.of("positions").put("latitude_e7", 535511000)), k.entry("fuel_levels", -1, 0.5), k.pack("height_profile", -1, 70))
	cut(add, "a short trip", short)
	for _, member := range []string{"card_number", "person", "nobody"} {
		for _, over := range []string{"card_number", "person", "nobody"} {
			part := map[string][]byte{
				"card_number": k.put("card_number", ""), "person": k.put("person", chars(1, "n")), "nobody": k.put("nobody", 0),
			}
			add(fmt.Sprintf("driver %s, then %s", member, over), part[member], part[over])
		}
	}
	add("a fault of a later firmware", k.entry("faults", 0, k.of("faults").of("value").put("faults",
		join(varint(1, 110), varint(2, 3), varint(4, 9), chars(17, "later")))))
	add("ended by what is not known", k.put("ended_by", 99), k.put("warnings", 0, -1, 99, 1))
	return append(all, atRandom(k, 6, 60, 0.35)...)
}

// aDay is a message with something in each of its fields.
func aDay(k kit) []byte {
	position := k.of("positions")
	var parts [][]byte
	put := func(name string, values ...any) { parts = append(parts, k.put(name, values...)) }
	at := func(i int) []byte {
		return join(position.put("latitude_e7", 535511000+i*37), position.put("longitude_e7", 99937000-i*11),
			position.put("seconds_since_start", i*10), position.put("speed", float64(i)/3.6), position.put("heading", i*45%360),
			position.put("altitude", -2), position.put("satellites", 11))
	}
	put("trip_id", "depot-7/2024-02-29/3")
	vehicle := k.of("vehicle")
	put("vehicle", join(vehicle.put("registration", "HH-WS 17"), vehicle.put("vin", "WDB9634031L123456"), vehicle.put("kind", 1),
		vehicle.entry("labels", "depot", "Nord"), vehicle.entry("labels", "Linie", "M 5 <Ring>")))
	put("started_at", twoNumbers(1_709_164_800, 0))
	put("ended_at", twoNumbers(1_709_170_123, 456_000_000))
	put("idle_time", twoNumbers(61, 500_000_000))
	for i := range 8 {
		put("positions", at(i))
	}
	stop := k.of("stops")
	put("stops", join(stop.put("where", at(3)), stop.put("length", twoNumbers(45, 0)), stop.put("address", "Straße 7"), stop.put("passengers", "2 on", "1 off")))
	frame := k.of("frames")
	for i := range 4 {
		put("frames", join(frame.put("identifier", 0x18feee00+i), frame.put("data", []byte{0xff, byte(i), 0x7d, 0x00}),
			frame.put("offset", twoNumbers(0, int64(i)*20_000_000)), frame.put("extended", true)))
	}
	signal := k.of("signals").of("value")
	for name, value := range ordered(
		"coolant", join(signal.put("number", 87.5), signal.put("unit", 2)),
		"doors", signal.put("state", false),
		"counter", signal.put("counter", -7),
		"destination", signal.put("text", "Hafen & Altstadt"),
		"raw", signal.put("raw", "\x00\x01"),
	) {
		parts = append(parts, k.entry("signals", name, value))
	}
	faults := k.of("faults").of("value")
	parts = append(parts, k.entry("faults", 17, faults.put("faults", join(varint(1, 110), varint(2, 0), varint(3, 0), varint(4, 2)))))
	parts = append(parts, k.entry("faults", 3, ""))
	person := k.of("person")
	put("person", join(person.put("name", "N. N."), person.put("licence", "B072RRE2I55"), person.put("phone_numbers", "+49 40 1")))
	put("consumed", 0.0)
	put("odometer_at_start", varint(1, 1<<53+1))
	put("private", "")
	parts = append(parts, k.pack("height_profile", 0, -1, 1, 70, -300), k.pack("battery_volts", 27.6, 13.8, math.NaN()), k.pack("checksums", uint64(math.MaxUint64), 0))
	for _, at := range []int{90, -10, 0, 100, 9} {
		parts = append(parts, k.entry("fuel_levels", at, float64(at)/200))
	}
	parts = append(parts, k.entry("seconds_moving", true, 5262), k.entry("seconds_moving", false, 61))
	object, value := k.of("extra"), k.of("extra").of("fields").of("value")
	put("extra", join(object.entry("fields", "ticketing", value.put("struct_value", object.entry("fields", "sold", value.put("number_value", 12.0)))),
		object.entry("fields", "ramp", value.put("null_value", 0))))
	put("attachments", join(chars(1, "type.googleapis.com/fleet.Person"), chars(2, "\x0a\x02Ab")))
	put("signature", "\x30\x45\x02\x20")
	put("ended_by", 1)
	parts = append(parts, k.pack("warnings", -1, 3))
	return join(parts...)
}
