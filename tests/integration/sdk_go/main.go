// Command ask streams an answer from a Tether gateway, with nothing but the code that `buf generate` made.
//
//	ask ADDRESS KEY MODEL PROMPT
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	tether "example.com/tether/gen/go/tether/v1"
)

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: ask ADDRESS KEY MODEL PROMPT")
		os.Exit(2)
	}
	if err := ask(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		explain(err)
		os.Exit(1)
	}
}

func ask(address, key, model, prompt string) error {
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+key)
	maxTokens := uint32(64)
	stream, err := tether.NewInferenceServiceClient(connection).Infer(ctx, &tether.Infer_Request{
		ModelId:    model,
		Input:      &tether.Infer_Input{Kind: &tether.Infer_Input_Text{Text: prompt}},
		Parameters: &tether.Infer_Parameters{MaxTokens: &maxTokens},
	})
	if err != nil {
		return err
	}
	return printAll(stream)
}

// printAll prints the answer; a stream that ends without a last chunk did not finish.
func printAll(stream grpc.ServerStreamingClient[tether.Infer_Chunk]) error {
	done := false
	for {
		chunk, err := stream.Recv()
		if err == io.EOF && done {
			return nil
		}
		if err == io.EOF {
			return fmt.Errorf("the stream ended without its last chunk")
		}
		if err != nil {
			return err
		}
		fmt.Print(chunk.GetPayload().GetText())
		if chunk.GetDone() {
			done = true
			fmt.Printf("\nfinish=%s tokens=%d\n", chunk.GetFinishReason(), chunk.GetUsage().GetOutputTokens())
		}
	}
}

// explain prints an error with the reason that Tether gave.
func explain(err error) {
	fmt.Fprintln(os.Stderr, err)
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			fmt.Fprintf(os.Stderr, "reason=%s domain=%s\n", info.GetReason(), info.GetDomain())
		}
	}
}
