// Fixtures: what Go makes of messages, to which tests/go_*.rs hold Waystation's own conversion.
//
// Run where Go is, after a change of a schema or of the cases; the output is committed:
//
//	cd tests/go-json && go run . ../fixtures/json
//
// Each line of a file of the output is one message: its name, its bytes as a device sends them, and
// the JSON that Go makes of it in two ways (once where it is the same), or why Go refuses. `jsonpb`
// is the old library with its default settings, which a receiver written in Go used before;
// `protojson` is the library of today. Two runs give the same bytes. What is committed is by Go
// 1.26; before 1.22 Go wrote a backspace and a form feed in a text as \u0008 and \u000c.
//
// The schemas are read at run time, so no protoc and no generated code is needed. The program
// deliberately knows nothing of what Waystation makes of a message, or of which it refuses.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/golang/protobuf/jsonpb"
	oldproto "github.com/golang/protobuf/proto"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	// What an Any may hold besides the messages of the schemas.
	_ "google.golang.org/protobuf/types/known/anypb"
	_ "google.golang.org/protobuf/types/known/durationpb"
	_ "google.golang.org/protobuf/types/known/emptypb"
	_ "google.golang.org/protobuf/types/known/fieldmaskpb"
	_ "google.golang.org/protobuf/types/known/structpb"
	_ "google.golang.org/protobuf/types/known/timestamppb"
	_ "google.golang.org/protobuf/types/known/wrapperspb"
)

// schemas are what there are fixtures of: a message, and where its messages come from. The output
// is called after it.
var schemas = []struct {
	output  string
	file    string
	message protoreflect.FullName
	cases   func(protoreflect.MessageDescriptor) []testCase
}{
	{"realtime_gps", "realtime_gps.proto", "tutorial.REALTIMEGPS", gps},
	{"every3", "every3.proto", "every3.Everything", every3},
	{"every2", "every2.proto", "every2.Everything", every2},
	{"known", "known.proto", "known.Types", known},
	{"names", "names.proto", "names.Odd", names},
	{"trip", "fleet/trip.proto", "fleet.Trip", trip},
}

// fixture is one line of the output.
type fixture struct {
	Name    string `json:"name"`
	Message []byte `json:"message"` // base64
	// Why the bytes are not taken for a message. The others are left out then.
	Refused string `json:"refused,omitempty"`
	// The JSON of both, where it is one.
	Both      string   `json:"both,omitempty"`
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
		log.Fatal("usage: go run . DIRECTORY")
	}
	for _, schema := range schemas {
		descriptor, err := compiled(schema.file, schema.message)
		if err != nil {
			log.Fatal("reading the schema: ", err)
		}
		var out bytes.Buffer
		lines := json.NewEncoder(&out)
		lines.SetEscapeHTML(false)
		names := make(map[string]bool)
		for _, c := range schema.cases(descriptor) {
			if names[c.name] {
				log.Fatalf("%s: two cases are called %q", schema.output, c.name)
			}
			names[c.name] = true
			if err := lines.Encode(converted(descriptor, c)); err != nil {
				log.Fatal(err)
			}
		}
		path := filepath.Join(os.Args[1], schema.output+".ndjson")
		if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
			log.Fatal(err)
		}
		fmt.Println(schema.message, len(names), "messages,", out.Len(), "bytes")
	}
}

// compiled finds a message in a file of the schemas. Every message of that file is known to an Any
// from then on, as those of a program's generated code are.
func compiled(file string, message protoreflect.FullName) (protoreflect.MessageDescriptor, error) {
	sources := &protocompile.SourceResolver{ImportPaths: []string{"../../proto", "../fixtures/proto"}}
	compiler := protocompile.Compiler{Resolver: protocompile.WithStandardImports(sources)}
	files, err := compiler.Compile(context.Background(), file)
	if err != nil {
		return nil, err
	}
	if err := register(files[0].Messages()); err != nil {
		return nil, err
	}
	found, err := files.AsResolver().FindDescriptorByName(message)
	if err != nil {
		return nil, err
	}
	return found.(protoreflect.MessageDescriptor), nil
}

func register(messages protoreflect.MessageDescriptors) error {
	for i := range messages.Len() {
		message := messages.Get(i)
		if message.IsMapEntry() {
			continue
		}
		if err := protoregistry.GlobalTypes.RegisterMessage(dynamicpb.NewMessageType(message)); err != nil {
			return err
		}
		if err := register(message.Messages()); err != nil {
			return err
		}
	}
	return nil
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
	if line := jsonpbs.Line; line != "" && line == protojsons.Line {
		return fixture{Name: c.name, Message: c.bytes, Both: line}
	}
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
