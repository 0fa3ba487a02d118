// Fixtures: what Go makes of messages of the built-in schema, to which tests/go_json.rs holds
// Waystation's own conversion.
//
// Run where Go is, after a change of the schema or of the cases; the output is committed:
//
//	cd tests/go-json && go run . ../fixtures/json/realtime_gps.ndjson
//
// Each line of the output is one message: its name, its bytes as a device sends them, and the JSON
// that Go makes of it in two ways, or why Go refuses. `jsonpb` is the old library with its default
// settings, which a receiver written in Go used before; `protojson` is the library of today. Two
// runs give the same bytes. What is committed is by Go 1.26; before 1.22 Go wrote a backspace and a
// form feed in a text as \u0008 and \u000c.
//
// The schema is read at run time, so no protoc and no generated code is needed. The program
// deliberately knows nothing of what Waystation makes of a message, or of which it refuses.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/golang/protobuf/jsonpb"
	oldproto "github.com/golang/protobuf/proto"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// fixture is one line of the output.
type fixture struct {
	Name    string `json:"name"`
	Message []byte `json:"message"` // base64
	// Why the bytes are not taken for a message. The other two are left out then.
	Refused   string   `json:"refused,omitempty"`
	Jsonpb    *outcome `json:"jsonpb,omitempty"`
	Protojson *outcome `json:"protojson,omitempty"`
}

// outcome is a line of JSON, or why there is none.
type outcome struct {
	Line  string `json:"line,omitempty"`
	Error string `json:"error,omitempty"`
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: go run . OUTPUT")
	}
	descriptor, err := schema("realtime_gps.proto", "tutorial.REALTIMEGPS")
	if err != nil {
		log.Fatal("reading the schema: ", err)
	}
	var out bytes.Buffer
	lines := json.NewEncoder(&out)
	lines.SetEscapeHTML(false)
	names := make(map[string]bool)
	for _, c := range append(cases(), random(150)...) {
		if names[c.name] {
			log.Fatal("two cases are called ", c.name)
		}
		names[c.name] = true
		if err := lines.Encode(converted(descriptor, c)); err != nil {
			log.Fatal(err)
		}
	}
	if err := os.WriteFile(os.Args[1], out.Bytes(), 0o644); err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(names), "messages")
}

// schema compiles a file of proto/ and finds a message in it.
func schema(file string, message protoreflect.FullName) (protoreflect.MessageDescriptor, error) {
	sources := &protocompile.SourceResolver{ImportPaths: []string{"../../proto"}}
	compiler := protocompile.Compiler{Resolver: protocompile.WithStandardImports(sources)}
	files, err := compiler.Compile(context.Background(), file)
	if err != nil {
		return nil, err
	}
	found, err := files.AsResolver().FindDescriptorByName(message)
	if err != nil {
		return nil, err
	}
	return found.(protoreflect.MessageDescriptor), nil
}

func converted(descriptor protoreflect.MessageDescriptor, c testCase) fixture {
	message := dynamicpb.NewMessage(descriptor)
	if err := proto.Unmarshal(c.bytes, message); err != nil {
		return fixture{Name: c.name, Message: c.bytes, Refused: text(err)}
	}
	old, err := new(jsonpb.Marshaler).MarshalToString(oldproto.MessageV1(message))
	jsonpbs := result(old, err)

	// It adds spaces at random, so that nobody relies on its bytes.
	var compact bytes.Buffer
	today, err := protojson.Marshal(message)
	if err == nil {
		err = json.Compact(&compact, today)
	}
	protojsons := result(compact.String(), err)
	return fixture{Name: c.name, Message: c.bytes, Jsonpb: jsonpbs, Protojson: protojsons}
}

func result(line string, err error) *outcome {
	if err != nil {
		return &outcome{Error: text(err)}
	}
	return &outcome{Line: line}
}

// text is an error's, without the no-break space that stands for a space in some builds, at random.
func text(err error) string {
	return strings.ReplaceAll(err.Error(), "\u00a0", " ")
}
