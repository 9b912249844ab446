package call

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// Rehearse encodes and decodes each message of a file once: the library makes its tables of a message at the first use
// of it, which is a fifth of what the agent does for the first call in a restored machine.
func Rehearse(file protoreflect.FileDescriptor) error {
	messages := file.Messages()
	for i := range messages.Len() {
		known, err := protoregistry.GlobalTypes.FindMessageByName(messages.Get(i).FullName())
		if err != nil {
			return err
		}
		message := known.New().Interface()
		encoded, err := proto.Marshal(message)
		if err != nil {
			return err
		}
		if err := decode(encoded, message); err != nil {
			return err
		}
	}
	return nil
}
