module gojson

go 1.24

require (
	github.com/bufbuild/protocompile v0.14.1
	github.com/golang/protobuf v1.5.4
	google.golang.org/protobuf v1.36.12
)

require golang.org/x/sync v0.8.0 // indirect
